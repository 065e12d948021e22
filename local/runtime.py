"""The process of one execution environment: imports a handler once, then serves one event at a time.

It is started as a script with nothing of the emulator on its import path, as in Lambda, and talks with the emulator
over a socket: frames of JSON, each after its length in four bytes.
"""

import importlib
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from typing import Any

# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 6 MiB, in the number that its errors tell.
_MAX_ANSWER_BYTES = 6_291_556


class AnswerTooLarge(Exception):
    """The function's answer is larger than Lambda takes."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"Response payload size exceeded maximum allowed payload size: {size_bytes} bytes")


class Context:
    """What Lambda passes beside the event.

    https://docs.aws.amazon.com/lambda/latest/dg/python-context.html
    """

    identity = None
    client_context = None

    def __init__(self, request_id: str, timeout_seconds: float) -> None:
        self.aws_request_id = request_id
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        region = os.environ["AWS_REGION"]
        self.invoked_function_arn = f"arn:aws:lambda:{region}:123456789012:function:{self.function_name}"
        self._deadline = time.monotonic() + timeout_seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._deadline - time.monotonic()) * 1000))


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=_die_with_the_emulator, args=(int(sys.argv[2]),), daemon=True).start()
    # Ctrl-C is for the emulator, which ends its environments in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        module, _, name = os.environ["_HANDLER"].rpartition(".")
        handler = getattr(importlib.import_module(module), name)
    except BaseException:  # noqa: BLE001  (whatever it is, it is told)
        _send(connection, {"import_error": traceback.format_exc()})
        return
    _send(connection, {"ready": True})
    while (frame := _receive(connection)) is not None:
        call = json.loads(frame)
        try:
            result = handler(call["event"], Context(call["request_id"], call["timeout_seconds"]))
            _send(connection, {"result": result}, limit=True)
        except Exception:  # noqa: BLE001  (a handler may raise anything, or return what is no JSON)
            _send(connection, {"error": traceback.format_exc()})


def _die_with_the_emulator(lifeline: int) -> None:
    """Ends this process when the emulator is gone, however it went and whatever a handler is doing."""
    os.read(lifeline, 1)
    os._exit(1)


def _send(connection: socket.socket, message: Any, *, limit: bool = False) -> None:
    data = json.dumps(message).encode()
    if limit and len(data) > _MAX_ANSWER_BYTES:
        # Our frames are ASCII, Lambda's client sends UTF-8.
        size = len(json.dumps(message["result"], ensure_ascii=False).encode("utf-8", "replace"))
        if size > _MAX_ANSWER_BYTES:
            raise AnswerTooLarge(size)
    connection.sendall(len(data).to_bytes(4, "big") + data)


def _receive(connection: socket.socket) -> bytes | None:
    header = _read_exactly(connection, 4)
    return None if header is None else _read_exactly(connection, int.from_bytes(header, "big"))


def _read_exactly(connection: socket.socket, count: int) -> bytes | None:
    chunks = bytearray()
    while len(chunks) < count:
        chunk = connection.recv(count - len(chunks))
        if not chunk:
            return None
        chunks += chunk
    return bytes(chunks)


if __name__ == "__main__":
    main()
