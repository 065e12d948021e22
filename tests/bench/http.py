"""A keep-alive HTTP/1.1 client that costs little, as it shares the machine with what it measures."""

import json
import select
import socket
import time
from typing import Any


class Connection:
    """One connection; calls give status and parsed body, and note how long each took under its name."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self._port = port
        self._socket = self._connected()
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.milliseconds: dict[str, list[float]] = {}

    def call(self, name: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{self._headers}"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        if select.select([self._socket], [], [], 0)[0]:
            # Nothing can have come but the end: the server closes what was quiet for seconds.
            self._socket.close()
            self._socket = self._connected()
        began = time.perf_counter()
        self._socket.sendall(head.encode() + data)
        status, answer = self._receive()
        self.milliseconds.setdefault(name, []).append((time.perf_counter() - began) * 1000)
        return status, json.loads(answer) if answer else None

    def _connected(self) -> socket.socket:
        connected = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected

    def _receive(self) -> tuple[int, bytes]:
        data = self._socket.recv(65_536)
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more()
        head = data[:end].lower()
        start = head.index(b"content-length:") + 15
        length = int(head[start : (head + b"\r").index(b"\r", start)])
        while len(data) < end + 4 + length:
            data += self._more()
        return int(data[9:12]), data[end + 4 :]

    def _more(self) -> bytes:
        data = self._socket.recv(65_536)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data
