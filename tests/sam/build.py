"""Builds what would be deployed: `python -m tests.sam.build FOLDER`, for the ARCHITECTURE of the environment."""

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


def sam_command(*arguments: str | Path) -> list[str | Path]:
    """SAM CLI with its arguments."""
    return [Path(sys.executable).with_name("sam"), *arguments]


def sam_environment() -> dict[str, str]:
    """What SAM CLI is started with: no telemetry, no AWS credentials, and a Python of the runtime's version.

    Raises:
        NoRuntimePython: there is none.
    """
    return {
        **os.environ,
        "SAM_CLI_TELEMETRY": "0",
        "AWS_DEFAULT_REGION": "us-east-1",
        "PATH": os.pathsep.join([str(runtime_python().parent), str(Path(sys.executable).parent), os.environ["PATH"]]),
    }


class SamFailed(Exception):
    """SAM CLI could not do what it was asked for; the message is what it printed."""


def sam(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs SAM CLI in this checkout."""
    return subprocess.run(
        sam_command(*arguments), env=sam_environment(), cwd=_ROOT, capture_output=True, text=True, check=check
    )


def build(folder: Path, *options: str | Path) -> Path:
    """Builds into the folder; gives the template of what is built.

    Raises:
        NoRuntimePython, SamFailed: it could not be done.
    """
    done = sam("build", "--build-dir", folder, *options, check=False)
    if done.returncode != 0:
        raise SamFailed(done.stderr)
    return folder / "template.yaml"


if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]), "--parameter-overrides", f"Architecture={os.environ.get('ARCHITECTURE', 'x86_64')}")
    except (NoRuntimePython, SamFailed) as error:
        sys.exit(f"SAM can't build: {error}")
