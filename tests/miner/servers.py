"""The network's edge for the reference miner: a coordinator and a model server that do as they are told."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# What a call is answered with: status and body; None drops the connection without an answer.
Reply = tuple[int, Any] | None


class Server:
    """Serves on loopback in threads; subclasses decide the answers."""

    def __init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                outer.handle(self, "POST", json.loads(body) if body else None)

            def do_GET(self) -> None:
                outer.handle(self, "GET", None)

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A client that goes away in the middle is part of the tests."""

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def handle(self, handler: BaseHTTPRequestHandler, method: str, body: Any) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Coordinator(Server):
    """Hands out the jobs it is given and notes every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.jobs: list[dict[str, Any]] = []
        self.cancelled: list[str] = []
        # Answers to give first, by path; afterwards the ordinary one.
        self.scripted: dict[str, list[Reply]] = {}
        self.registration = {"heartbeat_interval_seconds": 30, "lease_seconds": 0.6}
        self.poll_after_seconds = 0.05
        self.headers: list[dict[str, str]] = []
        self._lock = threading.Lock()
        super().__init__()

    def add_job(self, number: int = 1, **changes: Any) -> dict[str, Any]:
        job = {
            "id": f"job-{number}",
            "job_type": "custom",
            "parameters": {},
            "constraints": {},
            "attempt": 1,
            "lease_token": f"token-{number}",
            "lease_expires_in_seconds": 60,
            "timeout_seconds": 60,
            "price": "0",
            "redelivered": False,
            **changes,
        }
        self.jobs.append(job)
        return job

    def bodies(self, path: str) -> list[Any]:
        return [body for called, body in self.calls if called == path]

    def wait_for(self, condition: Callable[[], Any], seconds: float = 15) -> Any:
        until = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < until, self.calls[-5:]
            time.sleep(0.02)
        return value

    def handle(self, handler: BaseHTTPRequestHandler, method: str, body: Any) -> None:
        path = handler.path.split("?")[0].removeprefix("/base/v1/miner/")
        with self._lock:
            self.calls.append((path, body))
            self.headers.append({name.lower(): value for name, value in handler.headers.items()})
            scripted = self.scripted.get(path)
            reply = scripted.pop(0) if scripted else self._ordinary(path)
        if reply is None:
            handler.close_connection = True
            handler.connection.close()
            return
        status, answer = reply
        data = json.dumps(answer).encode()
        handler.send_response(status)
        if status == 429:
            handler.send_header("Retry-After", "1")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def _ordinary(self, path: str) -> Reply:
        if path == "register":
            return 201, {"id": "miner-1", "address": "ait1x", **self.registration}
        if path == "jobs":
            items, self.jobs = self.jobs, []
            return 200, {"items": items, "poll_after_seconds": self.poll_after_seconds}
        if path == "heartbeat":
            return 200, {"status": "active", "leases": [], "cancelled_jobs": self.cancelled}
        if path.endswith("/progress"):
            return 200, {"lease_expires_in_seconds": 60, "cancelled": False}
        return (201 if path == "result" else 200), {}


def refusal(status: int, code: str) -> Reply:
    return status, {"error": {"code": code, "message": "as scripted", "details": {}}}


class ModelServer(Server):
    """Streams words as an OpenAI-compatible server does."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.words = [" Paris", ".", " Yes"]
        self.pause_seconds = 0.0
        self.status: dict[str, tuple[int, str]] = {}
        self.broke_off = threading.Event()
        self.finish = True
        super().__init__()

    def handle(self, handler: BaseHTTPRequestHandler, method: str, body: Any) -> None:
        self.calls.append((handler.path, body))
        if handler.path in self.status:
            status, text = self.status[handler.path]
            self._plain(handler, status, text.encode())
        elif handler.path == "/v1/models":
            self._plain(handler, 200, json.dumps({"data": [{"id": "first-model"}]}).encode())
        else:
            self._stream(handler, chat=handler.path.endswith("chat/completions"))

    def _plain(self, handler: BaseHTTPRequestHandler, status: int, data: bytes) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def _stream(self, handler: BaseHTTPRequestHandler, *, chat: bool) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        try:
            for word in self.words:
                piece = {"delta": {"content": word}} if chat else {"text": word}
                self._event(handler, {"choices": [{**piece, "finish_reason": None}]})
                time.sleep(self.pause_seconds)
            if self.finish:
                self._event(handler, {"choices": [{"text": "", "finish_reason": "stop"}]})
                self._event(handler, {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}})
                handler.wfile.write(b"data: [DONE]\n\n")
        except (BrokenPipeError, ConnectionResetError):
            self.broke_off.set()
        handler.close_connection = True

    def _event(self, handler: BaseHTTPRequestHandler, chunk: Any) -> None:
        handler.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        handler.wfile.flush()
