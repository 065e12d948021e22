import asyncio
from collections.abc import Iterator

import pytest

from tests.api import (
    ADMIN,
    BOTH,
    CLIENT,
    MINER,
    OTHER_CLIENT,
    OTHER_MINER,
    PUBLIC_URL,
    SECRET_KEY,
    Api,
    forget_process_state,
)


@pytest.fixture
def event_loop() -> Iterator[None]:
    """The loop that Mangum finds, whatever a test before has left; Mangum itself would make one and never close it."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def api(database_url: str, monkeypatch: pytest.MonkeyPatch, event_loop: None) -> Iterator[Api]:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("SECRET_KEY", SECRET_KEY)
    monkeypatch.setenv("CLIENT_API_KEYS", f"{CLIENT},{OTHER_CLIENT}")
    monkeypatch.setenv("MINER_API_KEYS", f"{MINER},{OTHER_MINER}")
    monkeypatch.setenv("ADMIN_API_KEYS", ADMIN)
    monkeypatch.setenv("API_KEYS", BOTH)
    monkeypatch.setenv("PUBLIC_URL", PUBLIC_URL)
    for group in ("CLIENT", "MINER", "USER"):
        monkeypatch.setenv(f"RATE_LIMIT_{group}", "0")
    forget_process_state()
    # Counters are written when a test says so, and not by a thread in the midst of it.
    monkeypatch.setattr("coordinator.metrics.flushing.Flusher.request_ended", lambda _: None)
    import admin.app
    import client.app
    import exchange.app
    import miner.app
    import public.app
    import receipts.app
    import users.app

    modules = (client.app, miner.app, users.app, admin.app, receipts.app, exchange.app, public.app)
    yield Api(handlers={module.__name__.split(".")[0]: module.handler for module in modules})
    forget_process_state()


@pytest.fixture
def client(api: Api) -> Api:
    return api.as_(CLIENT)


@pytest.fixture
def miner(api: Api) -> Api:
    return api.as_(MINER)


@pytest.fixture
def admin(api: Api) -> Api:
    return api.as_(ADMIN)
