"""Creating POSTs that may be repeated: with an `Idempotency-Key`, a repetition gets the first answer and does nothing.

A route declares it by taking `once: Once` and running its use case by `once.write`. The answer is stored in the
transaction of the effect, so that neither is ever there without the other; without the header nothing is stored.
Errors undo the transaction and are not stored: a request that failed is judged anew when it is repeated.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, NamedTuple

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel
from sqlalchemy import Connection

from coordinator.core.canonical import canonical_json, sha256_hex
from coordinator.core.database import database
from coordinator.core.errors import InvalidInput
from coordinator.idempotency.errors import IdempotencyKeyReused
from coordinator.idempotency.service import Answer, KeyedRequest, first_answer, store

# What a stored body begins with that is none; bodies are JSON.
_SEALED = "sealed "
_Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Any text of your own. The same request with the same key gets the first answer for 24 hours.",
        min_length=1,
        max_length=255,
        pattern="^[ -~]*$",
    ),
]


class Reply(NamedTuple):
    """What a creating POST answers."""

    # Or what makes it, called when nothing is left to be done but the commit, or after that.
    body: BaseModel | Callable[[], BaseModel]
    status: int = 201
    headers: Mapping[str, str] = MappingProxyType({})
    # Whether it shows a secret, which is then not stored as it is.
    secret: bool = False


class Writer:
    """Writes to the database, once for each Idempotency-Key."""

    def __init__(self, request: KeyedRequest | None) -> None:
        self._request = request

    def write(self, work: Callable[[Connection], Reply]) -> Response:
        """Runs work as `Database.write` does, unless its answer is known.

        Raises:
            IdempotencyInProgress: the first request with this key is still running.
            IdempotencyKeyReused: the key came with another request.
        """
        request = self._request
        if request is None:
            return _response(_rendered(database().write(work)))
        return database().write(lambda tx: _write_once(tx, request, work))


async def _writer(request: Request, key: _Key = None) -> Writer:
    return Writer(None if key is None else _keyed(request, key))


Once = Annotated[Writer, Depends(_writer)]


def _write_once(tx: Connection, request: KeyedRequest, work: Callable[[Connection], Reply]) -> Response:
    if first := first_answer(tx, request):
        response = _response(_opened(first, request))
        response.headers["Idempotency-Replayed"] = "true"
        return response
    reply = work(tx)
    answer = _rendered(reply)
    store(tx, request, _sealed(answer, request) if reply.secret else answer)
    return _response(answer)


def _sealed(answer: Answer, request: KeyedRequest) -> Answer:
    from coordinator.idempotency.sealing import seal  # noqa: PLC0415  (few functions need ciphers)

    return answer._replace(body=_SEALED + seal(answer.body, _place(request)))


def _opened(answer: Answer, request: KeyedRequest) -> Answer:
    if not answer.body.startswith(_SEALED):
        return answer
    from coordinator.idempotency.sealing import Unreadable, unseal  # noqa: PLC0415

    try:
        return answer._replace(body=unseal(answer.body.removeprefix(_SEALED), _place(request)))
    except Unreadable as error:
        raise IdempotencyKeyReused("The first answer can't be read any more; send another Idempotency-Key.") from error


def _place(request: KeyedRequest) -> str:
    return f"{request.principal_id} {request.key}"


def _keyed(request: Request, key: str) -> KeyedRequest:
    """Two requests are the same if method, path (with or without /api) and JSON are, however the JSON is written."""
    path = request.scope["path"].removeprefix(request.scope["root_path"])
    # As the route has parsed it; None where no body is asked for.
    body = getattr(request, "_json", None)
    try:
        sha256 = sha256_hex(canonical_json([request.method, path, body]))
    except ValueError as error:
        raise InvalidInput.at("body", message=str(error), kind="not_canonical_json") from error
    return KeyedRequest(request.state.principal.id, key, sha256)


def _rendered(reply: Reply) -> Answer:
    body = reply.body if isinstance(reply.body, BaseModel) else reply.body()
    return Answer(reply.status, dict(reply.headers), body.model_dump_json(by_alias=True))


def _response(answer: Answer) -> Response:
    return Response(answer.body, answer.status, answer.headers, media_type="application/json")
