"""Calls that are made again until they are answered, as clients and miners must make them."""

import json
import random
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Any, NamedTuple

from tests.emulator import process

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 1.0


class Answer(NamedTuple):
    # When the request that was answered was sent, on the clock that all processes of the machine share.
    sent_at: float
    status: int
    json: Any


class Caller:
    """Calls as one client or miner; `on_trouble` is told of each try that brought no answer, or one of 5xx."""

    def __init__(self, port: int, key: str, rng: random.Random, on_trouble: Callable[[str], None]) -> None:
        self.headers = {"X-Api-Key": key, "Content-Type": "application/json"}
        self._port = port
        self._random = rng
        self._on_trouble = on_trouble

    def insist(self, method: str, path: str, body: Any = None) -> Answer:
        data = None if body is None else json.dumps(body).encode()
        pause = _FIRST_PAUSE_SECONDS
        while True:
            sent_at = time.monotonic()
            try:
                answer = process.call(self._port, method, path, data, self.headers)
            except (OSError, HTTPException):
                self._on_trouble("no answer")
            else:
                if answer.status < 500:
                    return Answer(sent_at, answer.status, answer.json)
                self._on_trouble(_described(answer))
            time.sleep(self._random.uniform(0, pause))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _described(answer: process.Answer) -> str:
    """Such as "500 INTERNAL_ERROR"; the whole body if it is not as the contract has it."""
    try:
        error = answer.json["error"]
        if set(error) == {"code", "message", "details"}:
            return f"{answer.status} {error['code']}"
    except (ValueError, KeyError, TypeError):
        pass
    return f"{answer.status} with the body {answer.body!r}"
