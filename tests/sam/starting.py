"""Starts built functions as a new execution environment does, in a bare interpreter of the runtime's version."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.sam.build import runtime_python

LAYER = "SharedLayer"
_STARTER = Path(__file__).with_name("cold_start.py")
_VARIABLES = {"SECRET_KEY": "a-test-secret-0123456789-abcdefghijklmnop", "PUBLIC_URL": "https://api.test"}


def start(built: Path, function: str, what: str, event: Any = None, **variables: str) -> dict[str, Any]:
    """What it took to import a handler, or modules, and to call the handler with an event, if there is one.

    Raises:
        RuntimeError: it has failed; the message is what it has said.
    """
    done = subprocess.run(
        # Lambda's disk can't be written: what was built without .pyc files is compiled by each start.
        [runtime_python(), "-I", "-S", "-B", _STARTER, built / function, built / LAYER, what],
        input=json.dumps(event),
        env={"PATH": os.environ["PATH"], **_VARIABLES, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{function}: {done.stderr}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told
