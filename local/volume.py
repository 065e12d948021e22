"""The emulator's folder: what must survive a restart, and what its functions are told of it."""

import fcntl
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from local.regtest.wallet import account_of
from local.template import Function

_KEY_ROLES = ("client", "miner", "admin")
# Where the regtest node of a running emulator is.
REGTEST_FILE = "regtest.json"


class VolumeInUse(Exception):
    """Another emulator uses the volume."""


class Volume:
    """A folder that only its owner can read, used by one emulator at a time.

    Raises:
        VolumeInUse: another emulator has it.
        OSError: it can't be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise VolumeInUse(f"the volume {self.path} is in use by another emulator") from None
        self.keys = self._keys()
        self._secret_key = self._kept("secret_key", secrets.token_urlsafe(48))

    def close(self) -> None:
        os.close(self._lock)

    def variables(self, function: Function, environment: Mapping[str, str], url: str) -> dict[str, str]:
        """The variables of a function: those that the template declares, from the environment if they stand there.

        The emulator is reached at `url`.
        """
        defaults = {
            "DATABASE_URL": f"sqlite:///{self.path / 'coordinator.db'}",
            "SECRET_KEY": self._secret_key,
            "CORS_ALLOW_ORIGINS": "*",
            "PUBLIC_URL": url,
        }
        if environment.get("DATABASE_SECRET_ARN"):
            del defaults["DATABASE_URL"]
        if environment.get("SECRET_KEY_ARN"):
            del defaults["SECRET_KEY"]
        chosen = {
            name: environment.get(name) or given or defaults.get(name, "") for name, given in function.variables.items()
        }
        for role, key in self.keys.items():
            name = f"{role.upper()}_API_KEYS"
            if name in chosen:
                chosen[name] = ",".join(filter(None, (chosen[name], key)))
        return chosen

    def regtest(self, url: str, esplora_url: str) -> dict[str, str]:
        """The variables of functions that take payments on a regtest node; the faucet finds the node at `url`.

        Payments go to an account of the volume's own.
        """
        (self.path / REGTEST_FILE).write_text(json.dumps({"url": url}) + "\n")
        return {
            "BITCOIN_NETWORK": "regtest",
            "BITCOIN_XPUB": account_of(bytes.fromhex(self._kept("bitcoin_seed", secrets.token_hex(32)))),
            "BITCOIN_ADDRESS": "",
            "ESPLORA_URLS": esplora_url,
        }

    def _keys(self) -> dict[str, str]:
        fresh = json.dumps({role: f"{role}_{secrets.token_urlsafe(24)}" for role in _KEY_ROLES}, indent=1)
        keys: dict[str, str] = json.loads(self._kept("keys.json", fresh))
        return keys

    def _kept(self, name: str, fresh: str) -> str:
        """What the file holds; made with `fresh` the first time, whole or not at all."""
        path = self.path / name
        if not path.exists():
            unfinished = path.with_name(f"{name}.new")
            unfinished.unlink(missing_ok=True)
            descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(fresh + "\n")
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(path)
        return path.read_text().strip()
