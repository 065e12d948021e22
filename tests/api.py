"""The functions as API Gateway calls them, in this process, over a fresh database of either kind."""

import json
import sqlite3
from array import array
from contextlib import closing
from dataclasses import dataclass, field, replace
from logging import LogRecord
from typing import Any

from sqlalchemy import text

SECRET_KEY = "a-test-secret-0123456789-abcdefghijklmnop"
PUBLIC_URL = "https://api.example.org"
CLIENT, OTHER_CLIENT = "client-key-one", "client-key-two"
MINER, OTHER_MINER = "miner-key-one", "miner-key-two"
ADMIN, BOTH = "admin-key-one", "client-and-miner-key"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def error(self) -> str:
        return str(self.json["error"]["code"])


@dataclass
class Api:
    """Calls the function that serves a path, with a payload of format 2.0."""

    key: str | None = None
    miner_id: str | None = None
    handlers: dict[str, Any] = field(default_factory=dict, repr=False)
    address: str = "::1"
    session: str | None = None

    def as_(self, key: str | None, miner_id: str | None = None) -> "Api":
        return replace(self, key=key, miner_id=miner_id)

    def in_(self, session: str | None) -> "Api":
        return replace(self, session=session)

    def from_(self, address: str) -> "Api":
        return replace(self, address=address)

    def get(self, path: str, **options: Any) -> Answer:
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return self.call("POST", path, body=body, **options)

    def delete(self, path: str, **options: Any) -> Answer:
        return self.call("DELETE", path, **options)

    def call(
        self, method: str, path: str, *, body: Any = None, raw: str | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        path, _, query = path.partition("?")
        sent = {"host": "api.test", "content-type": "application/json", **(headers or {})}
        if self.key is not None:
            sent["x-api-key"] = self.key
        if self.session is not None:
            sent["x-session-token"] = self.session
        if self.miner_id is not None:
            sent["x-miner-id"] = self.miner_id
        event = {
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path,
            "rawQueryString": query,
            "headers": sent,
            "requestContext": {
                "requestId": "gateway-id",
                "http": {"method": method, "path": path, "sourceIp": self.address},
            },
            "body": raw if raw is not None else None if body is None else json.dumps(body),
            "isBase64Encoded": False,
        }
        answer = self.handlers[self._function_of(path)](event, None)
        return Answer(answer["statusCode"], answer["headers"], answer["body"])

    def _function_of(self, path: str) -> str:
        for name in ("client", "miner", "users", "admin", "receipts", "exchange"):
            if path.removeprefix("/api").startswith(f"/v1/{name}"):
                return name
        return "public"

    # What most tests need on the way to what they are about.

    def submit(self, **job: Any) -> dict[str, Any]:
        answer = self.post("/v1/client/jobs", {"job_type": "llm_inference", **job})
        assert answer.status == 201, answer.text
        return dict(answer.json)

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.get(f"/v1/client/jobs/{job_id}").json)

    def register(self, address: str = "ait1one", **miner: Any) -> dict[str, Any]:
        answer = self.post("/v1/miner/register", {"address": address, "capabilities": ["llm_inference"], **miner})
        assert answer.status in (200, 201), answer.text
        return dict(answer.json)

    def poll(self, limit: int | None = None) -> list[dict[str, Any]]:
        answer = self.get("/v1/miner/jobs" + (f"?limit={limit}" if limit else ""))
        assert answer.status == 200, answer.text
        return list(answer.json["items"])

    def answer(self, assignment: dict[str, Any], **body: Any) -> Answer:
        named = {"job_id": assignment["id"], "lease_token": assignment["lease_token"]}
        return self.post("/v1/miner/result", {**named, "result": {"text": "Paris"}, **body})


def forget_process_state() -> None:
    """What a new execution environment would begin with."""
    from coordinator.core import config, database, rates
    from coordinator.http import limits
    from coordinator.jobs import classes, queue
    from coordinator.metrics import counters, flushing
    from coordinator.payments import addresses, chain
    from coordinator.receipts import keys as signing_keys
    from coordinator.receipts import signing
    from coordinator.users import keys

    if database.database.cache_info().currsize:
        database.database().close()
    for cached in (
        config.settings,
        database.database,
        rates.rates,
        limits._limits,
        keys._configured_keys,
        keys._principal,
        signing.receipt_signer,
        signing_keys.publish_signing_key,
        counters.counters,
        flushing.flusher,
        addresses.address_source,
        chain.chain,
    ):
        cached.cache_clear()
    classes._known.clear()
    classes._profiles.clear()
    classes._committed.clear()
    queue._Counted.until = 0.0
    queue._rankings.clear()
    queue._seen.clear()


def logged(records: list[LogRecord]) -> str:
    """What the log says, with the exceptions."""
    return "\n".join(f"{record.getMessage()} {getattr(record, 'exception', '')}" for record in records)


def let_pass(seconds: float) -> None:
    """Lets time pass for the database: everything that is stored becomes this much older."""
    from coordinator.core.database import database
    from coordinator.migrations.tables import metadata

    def age(tx: Any) -> None:
        for table in metadata.sorted_tables:
            if table.name in ("audit", "ledger_entries", "receipt_log_checkpoints"):
                # They refuse changes.
                continue
            times = [c.name for c in table.columns if c.name.endswith("_us")]
            shifted = ", ".join(f"{name} = {name} - {int(seconds * 1_000_000)}" for name in times)
            if times:
                tx.execute(text(f"UPDATE {table.name} SET {shifted}"))

    database().write(age)
    _age_counters(int(seconds * 1_000_000))


def _age_counters(us: int) -> None:
    """The same for the counters of calls, which are in no table that SQLAlchemy knows."""
    from coordinator.core.database import database
    from coordinator.core.rates import SqliteRates, rates

    counters = rates()
    if not isinstance(counters, SqliteRates):
        times = f"ARRAY(SELECT t - {us} FROM unnest(times_us) WITH ORDINALITY AS u (t, n) ORDER BY n)"
        change = f"times_us = {times}, began_us = began_us - {us}, asked_us = asked_us - {us}"
        database().write(lambda tx: tx.execute(text(f"UPDATE rate_counters SET {change}")))
        return
    counters.sweep()
    with closing(sqlite3.connect(counters._path, isolation_level=None)) as connection:
        for key, packed in connection.execute("SELECT key, log FROM rate_counters").fetchall():
            log = array("q", packed)
            for place in range(1 + len(log) // 2):
                log[place] -= us
            connection.execute(
                "UPDATE rate_counters SET newest_us = newest_us - ?, log = ? WHERE key = ?", (us, log.tobytes(), key)
            )
