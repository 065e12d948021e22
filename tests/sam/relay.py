"""Lets containers reach a server that listens on nothing but a socket in a folder, or on the loopback address."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from socketserver import BaseRequestHandler, ThreadingTCPServer

# <bits/in.h>: binds to the address of a network that is made with its first container. Python has no name for it.
_IP_FREEBIND = 15
# A socket's path, or host and port.
Target = Path | tuple[str, int]


class _Relay(ThreadingTCPServer):
    def __init__(self, address: str, target: Target) -> None:
        self.target = target
        super().__init__((address, 0), _Connection)

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        super().server_bind()


class _Connection(BaseRequestHandler):
    server: _Relay

    def handle(self) -> None:
        with _connected(self.server.target) as target, DefaultSelector() as sides:
            sides.register(self.request, EVENT_READ, target)
            sides.register(target, EVENT_READ, self.request)
            while True:
                for side, _ in sides.select():
                    data = side.fileobj.recv(65_536)
                    if not data:
                        return
                    side.data.sendall(data)


def _connected(target: Target) -> socket.socket:
    if not isinstance(target, Path):
        return socket.create_connection(target)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(target))
    return connection


@contextmanager
def relay(address: str, target: Target) -> Iterator[int]:
    """Passes on what comes to a port of the address, which it gives, and the answers; ends with its last caller."""
    with _Relay(address, target) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.1,))
        serving.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            serving.join()
