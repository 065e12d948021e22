class NotVerified(Exception):
    """Something does not prove what it should; the message says what is wrong, for a person."""
