"""The emulator: everything that `make run` starts, and how it ends."""

import asyncio
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import uvicorn
from watchfiles import Change, awatch

from local import console
from local.deployment import deploy
from local.environments import Functions
from local.gateway import Gateway
from local.options import DOTENV, Options, read_environment
from local.protocol import Protocol
from local.scheduler import run_schedule
from local.template import Function, Template, TemplateError, read_template
from local.volume import Volume

_GRACE_SECONDS = 2
_BACKLOG = 1024
# A file named .env has no suffix.
_SOURCE_SUFFIXES = frozenset({".py", ".json", ".yaml", ".yml", ".mako", ""})


class _Server(uvicorn.Server):
    """Signals are the emulator's own business."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Emulator:
    """Serves the functions; `variables` go before all others that they are given."""

    def __init__(
        self,
        options: Options,
        volume: Volume,
        template: Template,
        listener: socket.socket,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._options = options
        self._fixed = variables
        self._volume = volume
        self._template = template
        self._listener = listener
        self._log = console.Log(quiet=options.quiet)
        self._functions = Functions(options.max_environments, self._log.output)
        self._gateway = Gateway(self._functions, template.routes, self._log.request, console.log_failure)
        self._template_folder = options.template.resolve().parent
        self._background: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """Deploys, then serves until SIGINT or SIGTERM.

        Raises:
            DeploymentFailed: a custom resource could not be created.
        """
        server = _Server(
            uvicorn.Config(
                self._gateway,
                lifespan="off",
                access_log=False,
                log_level="critical",
                server_header=False,
                date_header=True,
                timeout_graceful_shutdown=_GRACE_SECONDS,
                http=Protocol,
                ws="none",
                # Who calls is who connects, whatever a header says.
                proxy_headers=False,
                h11_max_incomplete_event_size=256 * 1024,
            )
        )
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        try:
            self._use(self._template)
            deployment = asyncio.create_task(deploy(self._template.custom_resources, self._functions))
            if await _first(deployment, stop.wait()):
                return
            deployment.result()
            self._listener.listen(_BACKLOG)
            serving = asyncio.create_task(server.serve([self._listener]))
            self._start_in_background()
            console.banner(self._url(), str(self._volume.path), self._volume.keys, regtest=self._options.regtest)
            await _first(serving, stop.wait())
            server.should_exit = True
            await serving
        finally:
            for task in self._background:
                task.cancel()
            await asyncio.gather(*self._background, return_exceptions=True)
            await self._functions.close()
            self._log.close()

    def _start_in_background(self) -> None:
        work = [
            self._functions.reap_forever(),
            *(run_schedule(schedule, self._functions, console.log_failure) for schedule in self._template.schedules),
        ]
        if self._options.reload:
            folders = {folder for f in self._template.functions.values() for folder in (f.code, *f.layers)}
            work.append(self._reload_on_change(*folders, recursive=True))
            # Not what lies below it: there are the volume and the virtual environment too.
            work.append(self._reload_on_change(self._template_folder, recursive=False))
        self._background = {asyncio.create_task(coroutine) for coroutine in work}

    def _url(self) -> str:
        host, port = self._listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{port}"

    def _use(self, template: Template) -> None:
        environment = {**read_environment(), **self._fixed}

        def variables_of(function: Function) -> dict[str, str]:
            return self._volume.variables(function, environment, self._url())

        self._functions.use(template.functions, variables_of)
        self._gateway.use(template.routes)

    async def _reload_on_change(self, *folders: Path, recursive: bool) -> None:
        async for changes in awatch(*folders, watch_filter=self._is_source, debounce=300, recursive=recursive):
            try:
                template = read_template(self._options.template)
            except TemplateError as error:
                console.log(f"the template is broken, what was there stays in use: {error}")
                continue
            self._use(template)
            console.log(f"reloaded after a change of {', '.join(sorted({Path(path).name for _, path in changes}))}")

    def _is_source(self, _change: Change, path: str) -> bool:
        changed = Path(path)
        if changed.parent == self._template_folder and changed.name not in (self._options.template.name, DOTENV.name):
            return False
        return changed.suffix in _SOURCE_SUFFIXES and "__pycache__" not in changed.parts


async def _first(task: "asyncio.Task[Any]", other: Any) -> bool:
    """Waits for the first of the two; tells whether it was the other."""
    stopping = asyncio.ensure_future(other)
    done, _ = await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if stopping in done and task not in done:
        if not stopping.done():
            stopping.cancel()
        return True
    stopping.cancel()
    with suppress(asyncio.CancelledError):
        await stopping
    return False
