"""The coordinator as a miner sees it: its HTTP contract, and what to do when it does not answer."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import httpx

_TIMEOUT_SECONDS = 35.0
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0


class Refused(Exception):
    """The coordinator said no, and will say so again."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code


class Unreachable(Exception):
    """There was no answer, or one that may be another the next time; `retry_after_seconds` if it told when."""

    def __init__(self, reason: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class Coordinator:
    """Calls of one miner; `url` may have a path, as https://host/api."""

    def __init__(self, url: str, api_key: str, log: Callable[[str], None]) -> None:
        self._http = httpx.AsyncClient(
            base_url=url.rstrip("/") + "/", headers={"X-Api-Key": api_key}, timeout=_TIMEOUT_SECONDS
        )
        self._log = log
        self._was_unreachable = False

    async def close(self) -> None:
        await self._http.aclose()

    def act_as(self, miner_id: str) -> None:
        self._http.headers["X-Miner-Id"] = miner_id

    async def call(self, method: str, path: str, body: Any = None, *, timeout_seconds: float | None = None) -> Any:
        """One call.

        Raises:
            Refused: the answer is no.
            Unreachable: there was no answer, or it says to try later.
        """
        timeout = httpx.USE_CLIENT_DEFAULT if timeout_seconds is None else timeout_seconds
        try:
            response = await self._http.request(method, f"v1/miner/{path}", json=body, timeout=timeout)
        except httpx.HTTPError as error:
            raise self._unreachable(f"{type(error).__name__} {error}".strip()) from error
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS or response.is_server_error:
            raise self._unreachable(f"status {response.status_code}", _retry_after(response))
        try:
            answer = response.json()
        except ValueError:
            raise self._unreachable(f"status {response.status_code} without JSON") from None
        if not response.is_success:
            told = answer.get("error", {}) if isinstance(answer, dict) else {}
            raise Refused(response.status_code, told.get("code", "UNKNOWN"), _message(told) or response.text[:200])
        if self._was_unreachable:
            self._was_unreachable = False
            self._log("the coordinator answers again")
        return answer

    async def insist(self, method: str, path: str, body: Any = None) -> Any:
        """The same call until there is an answer; the caller's body must make repetition safe.

        Raises:
            Refused: the answer is no.
        """
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self.call(method, path, body)
            except Unreachable as error:
                # Full jitter, so that a fleet does not come back all at once.
                await asyncio.sleep(error.retry_after_seconds or random.uniform(0, pause))  # noqa: S311
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _unreachable(self, reason: str, retry_after_seconds: float | None = None) -> Unreachable:
        if not self._was_unreachable:
            self._was_unreachable = True
            self._log(f"the coordinator does not answer ({reason}); trying on")
        return Unreachable(reason, retry_after_seconds)


def _message(error: dict[str, Any]) -> str:
    """What a refusal says, with the fields that are wrong."""
    message = str(error.get("message", ""))
    fields = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.get("details", {}).get("errors", [])]
    return f"{message} ({'; '.join(fields)})" if fields else message


def _retry_after(response: httpx.Response) -> float | None:
    text = response.headers.get("retry-after", "")
    return float(text) if text.isdigit() else None
