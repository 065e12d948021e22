"""An engine of our own takes along what it has made, however it ends."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest

from tests.emulator.process import ROOT
from tests.sam.engine import Engine
from tests.sam.leftovers import network_name, remove_leftovers

pytestmark = pytest.mark.timeout(300)
# An engine with one container that a port leads to.
SERVING = textwrap.dedent("""
    import time
    import docker
    from tests.sam.engine import container_engine
    from tests.sam.image import REPOSITORY, TAG

    with container_engine() as engine:
        client = docker.DockerClient(engine.variables["DOCKER_HOST"], version="1.41")
        client.containers.run(f"{REPOSITORY}:{TAG}", ["sleep", "60"], detach=True, ports={"8080": ("127.0.0.1", None)})
        print("serving", flush=True)
        time.sleep(60)
""")


def left_by(process: int) -> list[str]:
    """Rules and folders that tell of it."""
    rules = subprocess.check_output(["iptables", "-t", "nat", "-S"], text=True).splitlines()
    folders = Path(tempfile.gettempdir()).glob(f"sam-engine-{process}-*")
    return [rule for rule in rules if network_name(process) in rule] + [str(folder) for folder in folders]


def test_what_a_killed_engine_leaves_is_removed_and_what_a_running_one_has_is_not(engine: Engine) -> None:
    if not engine.shared:
        pytest.skip("an engine of our own (another answers)")
    with subprocess.Popen([sys.executable, "-c", SERVING], cwd=ROOT, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "serving\n"
        while_it_runs = left_by(killed.pid)
        remove_leftovers()
        assert left_by(killed.pid) == while_it_runs
        os.kill(killed.pid, signal.SIGKILL)
    assert len(left_by(killed.pid)) > 2

    # The last of its processes end a moment after it.
    for _ in range(50):
        remove_leftovers()
        if not left_by(killed.pid):
            break
        time.sleep(0.1)

    assert left_by(killed.pid) == []
