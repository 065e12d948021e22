"""HTTP as the server reads it, before there is a request that could be answered."""

import json
from uuid import uuid4

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_STATUS_LINE = "HTTP/1.1 400 Bad Request"


class Protocol(HttpToolsProtocol):
    """Answers bytes that are no request with this API's error body."""

    def send_400_response(self, msg: str) -> None:
        body = json.dumps({"error": {"code": "BAD_REQUEST", "message": msg, "details": {}}})
        head = (
            _STATUS_LINE,
            "content-type: application/json",
            f"content-length: {len(body)}",
            f"x-request-id: {uuid4()}",
            "connection: close",
        )
        self.transport.write("\r\n".join((*head, "", body)).encode())
        self.transport.close()
