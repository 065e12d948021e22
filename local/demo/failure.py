class DemoFailed(Exception):
    """Something went wrong that the demo was to show working."""
