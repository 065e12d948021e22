"""Requests as they are written, with headers that stand twice."""

import http.client
from collections.abc import Mapping
from typing import NamedTuple

# A container's first request waits until SAM CLI has made its image.
_PATIENCE_SECONDS = 120


class Sent(NamedTuple):
    method: str
    path: str
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()


class Got(NamedTuple):
    status: int
    # Names in small letters, each with its values in their order.
    headers: Mapping[str, list[str]]
    body: bytes


def send(port: int, sent: Sent) -> Got:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_SECONDS)
    try:
        hosted = any(name.lower() == "host" for name, _ in sent.headers)
        connection.putrequest(sent.method, sent.path, skip_host=hosted, skip_accept_encoding=True)
        for name, value in sent.headers:
            connection.putheader(name, value)
        if sent.body is not None:
            connection.putheader("Content-Length", str(len(sent.body)))
        connection.endheaders(sent.body)
        response = connection.getresponse()
        headers: dict[str, list[str]] = {}
        for name, value in response.getheaders():
            headers.setdefault(name.lower(), []).append(value)
        return Got(response.status, headers, response.read())
    finally:
        connection.close()
