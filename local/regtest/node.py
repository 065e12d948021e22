"""A node of Bitcoin's regtest network with Esplora's HTTP API before it, as a child process."""

import fcntl
import json
import os
import shutil
import subprocess
import urllib.request
from pathlib import Path
from select import POLLIN, poll
from typing import Any
from urllib.error import HTTPError

from local.children import die_with_parent

_SCRIPTS = Path(__file__).parent
_INSTALLED = Path(__file__).parents[2] / "build/regtest"
_READY_SECONDS = 60
_STOP_SECONDS = 5
_CALL_SECONDS = 60


class NodeFailed(Exception):
    """The node can't be installed, started or asked; the message says why."""


def install() -> Path:
    """Fetches the packages of the node as they are locked, unless they are there; the folder that holds them.

    Raises:
        NodeFailed: there is no npm, or it has failed.
    """
    if shutil.which("npm") is None:
        raise NodeFailed("the regtest node needs Node.js with npm (Debian: apt-get install nodejs npm)")
    _INSTALLED.mkdir(parents=True, exist_ok=True)
    locked, done = (_SCRIPTS / "package-lock.json").read_bytes(), _INSTALLED / "installed"
    with (_INSTALLED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists() and done.read_bytes() == locked:
            return _INSTALLED
        done.unlink(missing_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_SCRIPTS / name, _INSTALLED / name)
        # Scripts of packages would compile what is not used here.
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        ran = subprocess.run(command, cwd=_INSTALLED, capture_output=True, text=True, check=False)  # noqa: S603
        if ran.returncode:
            raise NodeFailed(f"npm can't install the regtest node: {ran.stderr.strip()}")
        done.write_bytes(locked)
    return _INSTALLED


class Node:
    """Runs until it is stopped, or this process ends, however it does.

    Its chain is kept in the file `blocks`, else it is gone with it; what is in no block yet is gone in any case.

    Raises:
        NodeFailed: it did not become ready.
    """

    def __init__(self, packages: Path, blocks: Path | None = None) -> None:
        self._process = subprocess.Popen(  # noqa: S603  (what was installed)
            ["node", _SCRIPTS / "server.js", "0", *([blocks] if blocks else [])],  # noqa: S607  (wherever it is)
            env={**os.environ, "NODE_PATH": str(packages / "node_modules"), "NODE_BACKEND": "js"},
            # It ends when this end closes.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=die_with_parent,  # noqa: PLW1509  (before any thread is started)
        )
        try:
            self.url = str(json.loads(self._first_line())["url"])
        except ValueError:
            self.stop()
            raise NodeFailed("the regtest node did not start; what it says stands above") from None

    @property
    def esplora_url(self) -> str:
        return f"{self.url}/api"

    def stop(self) -> None:
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _first_line(self) -> bytes:
        assert self._process.stdout is not None  # noqa: S101
        # Not select(), which knows no file beyond the 1024th of a process.
        output = poll()
        output.register(self._process.stdout, POLLIN)
        return self._process.stdout.readline() if output.poll(_READY_SECONDS * 1000) else b""


def ask(url: str, action: str, **what: Any) -> dict[str, Any]:
    """Lets the node at a URL do what only the owner of a chain can do: pay, mine, reorg, ...

    Raises:
        NodeFailed: it can't be reached, or refuses.
    """
    request = urllib.request.Request(f"{url}/regtest/{action}", json.dumps(what).encode(), method="POST")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_CALL_SECONDS) as answer:  # noqa: S310  (the node's own URL)
            done: dict[str, Any] = json.load(answer)
            return done
    except HTTPError as error:
        with error:
            raise NodeFailed(error.read().decode(errors="replace")) from None
    except OSError as error:
        raise NodeFailed(f"the regtest node does not answer: {error}") from error
