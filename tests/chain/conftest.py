from tests.integration.conftest import api, client, event_loop

__all__ = ["api", "client", "event_loop"]
