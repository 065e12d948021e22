"""Builds what would be deployed: `python -m tests.sam.build FOLDER`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

RUNTIME = "python3.13"
_ROOT = Path(__file__).parents[2]


class NoRuntimePython(Exception):
    """This machine has no Python of the version that Lambda runs the functions with."""


def runtime_python() -> Path:
    """A Python of the runtime's version: on the PATH, or among pyenv's.

    Raises:
        NoRuntimePython: there is none; SAM's builder insists on one.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [
        shutil.which(RUNTIME),
        *sorted(pyenv.glob(f"versions/{RUNTIME.removeprefix('python')}.*/bin/{RUNTIME}")),
    ]
    for candidate in filter(None, candidates):
        # pyenv puts a stand-in on the PATH that fails when its version is not chosen.
        asked = subprocess.run(
            [candidate, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True, check=False
        )
        if asked.returncode == 0:
            return Path(asked.stdout.strip())
    raise NoRuntimePython(f"no {RUNTIME}")


def sam(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs SAM CLI in this checkout, without telemetry and AWS credentials."""
    environment = {
        **os.environ,
        "SAM_CLI_TELEMETRY": "0",
        "AWS_DEFAULT_REGION": "us-east-1",
        "PATH": os.pathsep.join([str(runtime_python().parent), str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    command = [Path(sys.executable).with_name("sam"), *arguments]
    return subprocess.run(command, env=environment, cwd=_ROOT, capture_output=True, text=True, check=check)


if __name__ == "__main__":
    try:
        done = sam("build", "--build-dir", sys.argv[1], check=False)
    except NoRuntimePython as error:
        sys.exit(f"SAM can't build: {error}")
    sys.stderr.write(done.stderr)
    sys.exit(done.returncode)
