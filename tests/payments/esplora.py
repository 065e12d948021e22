"""A server of the Esplora API over a chain in memory, which can be made to fail in all ways that servers fail."""

import json
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from coordinator.core.bitcoin import NETWORKS, script_of
from coordinator.payments.memory import MemoryChain

GENESIS = NETWORKS["regtest"].genesis_hash


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    # How much of the body is sent before the connection is cut; all of it.
    cut_after: int | None = None
    # How long it takes to each byte of the body, or to the first one of the whole answer.
    drip_seconds: float = 0
    silent_seconds: float = 0


class FakeEsplora:
    """Serves `chain`; `change` may put another reply in place of the one for a path."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.chain = MemoryChain()
        self.confirmed_per_page, self.most_of_mempool = 25, 50
        self.change: Callable[[str, Reply], Reply] = lambda _, reply: reply
        self.asked: list[str] = []
        self.connections = 0
        handler = type("Handler", (_Handler,), {"fake": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/api"

    def stop_listening(self) -> None:
        """Refuses all further connections."""
        self._server.socket.close()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reply(self, path: str) -> Reply:
        """What a server that works answers."""
        match path.strip("/").split("/")[1:]:
            case ["block-height", height]:
                found = self.chain.block_hash(int(height)) if int(height) else GENESIS
                return _text(found)
            case ["blocks", "tip", "hash"]:
                return _text(self.chain.tip().hash)
            case ["block", block_hash]:
                tip = self.chain.tip()
                return _json({"id": tip.hash, "height": tip.height}) if tip.hash == block_hash else _text(None)
            case ["address", address, "txs"]:
                mempool = [one for one in self._transactions(address) if not one["status"]["confirmed"]]
                return _json([*mempool[: self.most_of_mempool], *self._page(address, None)])
            case ["address", address, "txs", "chain", last_seen]:
                return _json(self._page(address, last_seen))
        return Reply(404, b"endpoint does not exist")

    def _page(self, address: str, after: str | None) -> list[dict[str, Any]]:
        confirmed = [one for one in self._transactions(address) if one["status"]["confirmed"]]
        begin = next((place + 1 for place, one in enumerate(confirmed) if one["txid"] == after), 0)
        return confirmed[begin : begin + self.confirmed_per_page]

    def _transactions(self, address: str) -> list[dict[str, Any]]:
        """Those that pay the address, newest first, whose outputs are told by the chain in memory one by one."""
        found: dict[str, dict[str, Any]] = {}
        for output in self.chain.outputs(address):
            status = {
                "block_height": output.block_height,
                "block_hash": output.block_hash,
                "block_time": output.block_seconds,
            }
            one = found.setdefault(
                output.txid,
                {
                    "txid": output.txid,
                    "vin": [{"prevout": txout(OTHER, 5_000_000_000)}],
                    "vout": [],
                    "status": {"confirmed": True, **status} if output.block_hash else {"confirmed": False},
                },
            )
            # Outputs between pay others.
            one["vout"] += [txout(OTHER, 1) for _ in range(output.vout - len(one["vout"]))]
            one["vout"].append(txout(address, output.amount_sat))
        return sorted(found.values(), key=lambda one: -one["status"].get("block_height", 0))


OTHER = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202"


def txout(address: str, value: int) -> dict[str, Any]:
    script = script_of(address, "regtest")
    assert script is not None
    return {"scriptpubkey": script.hex(), "scriptpubkey_address": address, "value": value}


def _text(block_hash: str | None) -> Reply:
    return Reply(404, b"Block not found") if block_hash is None else Reply(body=block_hash.encode())


def _json(value: Any) -> Reply:
    return Reply(body=json.dumps(value).encode(), headers={"content-type": "application/json"})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are sent one after the other.
    disable_nagle_algorithm = True
    fake: FakeEsplora

    def setup(self) -> None:
        super().setup()
        self.fake.connections += 1

    def do_GET(self) -> None:
        self.fake.asked.append(self.path)
        reply = self.fake.change(self.path, self.fake.reply(self.path))
        try:
            time.sleep(reply.silent_seconds)
            self.send_response(reply.status)
            for name, value in {"content-length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            for piece in _pieces(reply):
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(reply.drip_seconds)
        except ConnectionError:
            # Who asked has gone.
            self.close_connection = True
        if reply.cut_after is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def _pieces(reply: Reply) -> Iterable[bytes]:
    body = reply.body[: reply.cut_after]
    return (body[place : place + 1] for place in range(len(body))) if reply.drip_seconds else (body,)
