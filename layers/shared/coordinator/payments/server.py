"""One HTTP server that is asked by GET: bounded in time and size, and left alone for a while after it has failed."""

import io
import ssl
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from coordinator.payments.chain import SHORTEST_PAUSE_SECONDS

_OK, _NOT_FOUND, _TOO_MANY_REQUESTS = 200, 404, 429
_CHUNK_BYTES = 65_536
# Proxies and frozen environments lose connections that nobody uses.
_IDLE_SECONDS = 10
_LONGEST_PAUSE_SECONDS = 60.0
_HEADERS = {"accept": "application/json, text/plain", "accept-encoding": "identity", "user-agent": "aitbc-coordinator"}


class ServerFailed(Exception):
    """The server gave no answer that can be used; the message says why."""

    # How long it has asked to be left alone, if it has.
    retry_after_seconds: float = 0


class NotThere(ServerFailed):
    """The server says that there is no such thing (404)."""


@dataclass(frozen=True)
class Limits:
    """How long to wait for a connection, for each piece of an answer and for all of it, and how long it may be."""

    connect_seconds: float = 3
    read_seconds: float = 5
    total_seconds: float = 8
    body_bytes: int = 16 * 1024 * 1024


class Server:
    """Keeps one connection; for one thread at a time."""

    def __init__(self, base_url: str, limits: Limits) -> None:
        self._connection: HTTPConnection | None = None
        parts = urlsplit(base_url)
        # The path may hold the key of a paid service, so nobody is told more than this.
        self.name = f"{parts.scheme}://{parts.netloc}"
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname or "", parts.port
        self._path = parts.path
        self._limits = limits
        self._used_at = 0.0
        self._pause_seconds, self._alone_until, self.trouble = 0.0, 0.0, ""

    def __del__(self) -> None:
        # Whoever drops a chain need not know that it keeps connections.
        self.close()

    @property
    def left_alone(self) -> bool:
        """Whether it has failed so lately that it should not be asked."""
        return monotonic() < self._alone_until

    def has_failed(self, error: ServerFailed) -> None:
        """Leaves it alone for a while: twice as long each time, or as long as it has asked for, up to a minute."""
        self.close()
        self._pause_seconds = min(max(SHORTEST_PAUSE_SECONDS, 2 * self._pause_seconds), _LONGEST_PAUSE_SECONDS)
        pause_seconds = max(self._pause_seconds, min(error.retry_after_seconds, _LONGEST_PAUSE_SECONDS))
        self._alone_until, self.trouble = monotonic() + pause_seconds, str(error)

    def has_answered(self) -> None:
        self._pause_seconds, self._alone_until, self.trouble = 0.0, 0.0, ""

    def get(self, path: str) -> bytes:
        """The body of an answer with status 200.

        Raises:
            NotThere: the answer is a 404.
            ServerFailed: there is no other answer, none in time, none that is whole, or too much of it.
        """
        deadline = monotonic() + self._limits.total_seconds
        if monotonic() - self._used_at > _IDLE_SECONDS:
            self.close()
        kept = self._connection is not None
        try:
            try:
                return self._exchange(path, deadline)
            except ConnectionError:
                # The server closes kept connections when it likes; that says nothing about it.
                self.close()
                if not kept:
                    raise
                return self._exchange(path, deadline)
        except (OSError, HTTPException, ValueError) as error:
            self.close()
            raise ServerFailed(_told(error)) from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self, path: str, deadline: float) -> bytes:
        connection = self._connection = self._connection or self._connect()
        # http.client reads by what is put here.
        timed: Any = connection.sock
        timed.deadline = deadline
        connection.request("GET", self._path + path, headers=_HEADERS)
        response = connection.getresponse()
        body = self._read(response)
        self._used_at = monotonic()
        if response.will_close:
            self.close()
        if response.status == _OK:
            return body
        failure = (NotThere if response.status == _NOT_FOUND else ServerFailed)(f"it answered {response.status}")
        if response.status == _TOO_MANY_REQUESTS:
            seconds = response.getheader("retry-after", "").strip()
            failure.retry_after_seconds = int(seconds[:9]) if seconds.isascii() and seconds.isdigit() else 0
        raise failure

    def _connect(self) -> HTTPConnection:
        timeout = self._limits.connect_seconds
        connection = (
            HTTPSConnection(self._host, self._port, timeout=timeout, context=ssl.create_default_context())
            if self._secure
            else HTTPConnection(self._host, self._port, timeout=timeout)
        )
        connection.connect()
        connection.sock = _TimedSocket(connection.sock, self._limits.read_seconds)
        # It would connect anew without that.
        connection.auto_open = 0
        return connection

    def _read(self, response: HTTPResponse) -> bytes:
        body = bytearray()
        while chunk := response.read1(_CHUNK_BYTES):
            body += chunk
            if len(body) > self._limits.body_bytes:
                raise ValueError(f"its answer is longer than {self._limits.body_bytes} bytes")
        if response.length:
            raise ValueError("its answer breaks off")
        # The connection stays, and is free for the next request.
        response.close()
        return bytes(body)


class _TimedSocket:
    """What http.client wants of a socket; no wait is longer than `read_seconds`, and none goes beyond the deadline.

    A timeout of the socket alone begins anew with each byte that comes.
    """

    def __init__(self, sock: Any, read_seconds: float) -> None:
        self._socket = sock
        self._read_seconds = read_seconds
        self.deadline = 0.0

    def sendall(self, data: bytes) -> None:
        self.set_timeout()
        self._socket.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self, self._socket.makefile("rb", buffering=0)))

    def close(self) -> None:
        self._socket.close()

    def set_timeout(self) -> None:
        left = self.deadline - monotonic()
        if left <= 0:
            raise TimeoutError("its answer takes too long")
        self._socket.settimeout(min(left, self._read_seconds))


class _TimedReader(io.RawIOBase):
    def __init__(self, timed: _TimedSocket, raw: Any) -> None:
        self._timed = timed
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._timed.set_timeout()
        read: int | None = self._raw.readinto(buffer)
        return read

    def close(self) -> None:
        self._raw.close()
        super().close()


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
