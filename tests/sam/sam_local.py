"""The built functions under SAM CLI's own emulation: `python -m tests.sam.sam_local`, or `make sam-local`."""

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local import console
from local.options import read_environment, read_options
from local.template import read_template
from local.volume import Volume, VolumeInUse
from tests.sam.build import NoRuntimePython, SamFailed, build, sam_command, sam_environment
from tests.sam.engine import Engine, NoEngine, container_engine

_BUILD_FOLDER = Path(".aws-sam/build")
_READY_SECONDS = 300
_CONTAINER_SECONDS = 120
# It removes one container after the other.
_STOP_SECONDS = 60
# Variables by function.
Variables = Mapping[str, Mapping[str, str]]


class SamLocal:
    """SAM CLI for one build on one engine, with a folder for the files that it reads."""

    def __init__(self, engine: Engine, template: Path, variables: Variables, folder: Path) -> None:
        patience = {"SAM_CLI_CONTAINER_CONNECTION_TIMEOUT": str(_CONTAINER_SECONDS)}
        self._environment = {**sam_environment(), **patience, **engine.variables}
        self._folder = folder
        values = folder / "variables.json"
        values.touch(0o600)
        values.write_text(json.dumps(variables))
        self._options = ("--template", template, "--env-vars", values, *engine.options)

    def invoke(self, function: str, event: Any) -> Any:
        """The function's answer to one event.

        Raises:
            SamFailed: it gave none.
        """
        file = self._folder / "event.json"
        file.write_text(json.dumps(event))
        done = subprocess.run(
            sam_command("local", "invoke", function, "--event", file, *self._options),
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            return json.loads(done.stdout)
        except ValueError:
            raise SamFailed(done.stderr) from None

    def migrate(self) -> None:
        """Brings the database to this release's schema, as CloudFormation would when the stack is deployed.

        Raises:
            SamFailed: the function could not.
        """
        answer = self.invoke("MigrateFunction", {"RequestType": "Create"})
        if answer.get("Status") != "SUCCESS":
            raise SamFailed(str(answer.get("Reason", answer)))

    @contextmanager
    def serving(self, host: str, port: int, log: Path | None = None) -> Iterator["subprocess.Popen[bytes]"]:
        """Serves the API, in containers that are started with the first request and kept; its output goes to `log`.

        Raises:
            SamFailed: it ended before it served.
        """
        output = log.open("wb") if log else None
        process = subprocess.Popen(
            sam_command(
                *("local", "start-api", "--host", host, "--port", str(port), "--warm-containers", "LAZY", "--no-watch"),
                *self._options,
            ),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # A Ctrl-C is for us, who end it in order.
            start_new_session=True,
        )
        try:
            _wait(process, host, port, log)
            yield process
        finally:
            # Whatever was started in the background ignores SIGINT.
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            finally:
                process.kill()
                if output:
                    output.close()


def _wait(process: "subprocess.Popen[bytes]", host: str, port: int, log: Path | None) -> None:
    until = time.monotonic() + _READY_SECONDS
    while process.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection((host, port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SamFailed(log.read_text() if log else "sam local start-api does not serve")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def main() -> int:
    """Serves the API on the address and the volume of the emulator until it is stopped."""
    environment = read_environment()
    options = read_options(sys.argv[1:], environment)
    try:
        volume = Volume(options.volume)
    except (VolumeInUse, OSError) as error:
        console.error(f"Can't start: {error}")
        return 1
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        with container_engine([volume.path]) as engine, tempfile.TemporaryDirectory() as folder:
            if not engine.shared and not environment.get("DATABASE_URL"):
                console.error(
                    "Can't start: the containers of this engine share no folder for SQLite; set DATABASE_URL to a "
                    f"Postgres, such as postgresql+psycopg://user:password@{engine.host}/database."
                )
                return 2
            url = f"http://{options.host}:{options.port}"
            console.log("building and migrating")
            template = build(_BUILD_FOLDER)
            functions = read_template(template).functions
            variables = {name: volume.variables(function, environment, url) for name, function in functions.items()}
            served = SamLocal(engine, template, variables, Path(folder))
            served.migrate()
            with served.serving(options.host, options.port) as process:
                console.banner(url, str(volume.path), volume.keys)
                return process.wait()
    except (NoEngine, NoRuntimePython, SamFailed) as error:
        console.error(f"Can't start: {error}")
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        volume.close()


def _stop(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
