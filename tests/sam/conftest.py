"""What SAM makes of the template, and SAM CLI serving it in containers."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from shutil import which
from urllib.parse import urlsplit

import pytest
from sqlalchemy import make_url

from tests.api import ADMIN, CLIENT, MINER, OTHER_CLIENT, OTHER_MINER, PUBLIC_URL, SECRET_KEY
from tests.chain.regtest import Regtest
from tests.databases import PostgresCluster
from tests.sam.build import NoRuntimePython, build
from tests.sam.engine import Engine, NoEngine, container_engine
from tests.sam.relay import relay
from tests.sam.sam_local import SamLocal, free_port

VARIABLES = {
    "SECRET_KEY": SECRET_KEY,
    "CLIENT_API_KEYS": f"{CLIENT},{OTHER_CLIENT}",
    "MINER_API_KEYS": f"{MINER},{OTHER_MINER}",
    "ADMIN_API_KEYS": ADMIN,
    "PUBLIC_URL": PUBLIC_URL,
    "CORS_ALLOW_ORIGINS": "https://app.example",
    "BITCOIN_NETWORK": "regtest",
}
# Where SAM CLI's outputs are.
_LOGS = pytest.StashKey[list[Path]]()
_TOLD_LINES = 40
# The port that SAM CLI serves the API on, over a database of the kind.
Serve = Callable[[str], int]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for log in item.config.stash.get(_LOGS, []):
            report.sections.append((str(log), "\n".join(log.read_text().splitlines()[-_TOLD_LINES:])))
    return report


@pytest.fixture(scope="session")
def build_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sam") / "build"
    try:
        build(folder)
    except NoRuntimePython as error:
        pytest.skip(f"SAM build ({error})")
    return folder


@pytest.fixture(scope="session")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that containers see at the same path."""
    return tmp_path_factory.mktemp("volume")


@pytest.fixture(scope="session")
def engine(volume: Path) -> Iterator[Engine]:
    try:
        with container_engine([volume]) as engine:
            yield engine
    except NoEngine as error:
        pytest.skip(f"SAM local ({error})")


@pytest.fixture(scope="session")
def serve(
    engine: Engine,
    volume: Path,
    build_folder: Path,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Serve]:
    with ExitStack() as until_the_end:

        def database_url(kind: str) -> str:
            """An empty database that containers reach: a file on their volume, or a server of this machine."""
            if kind == "sqlite":
                if not engine.shared:
                    pytest.skip("SQLite under SAM local (this engine's containers share no folder)")
                return f"sqlite:///{volume}/coordinator.db"
            if engine.gateway is None:
                pytest.skip("PostgreSQL under SAM local (a rootless engine's containers don't reach this machine)")
            cluster: PostgresCluster = request.getfixturevalue("postgres")
            url = make_url(cluster.new_database(template="template0"))
            port = until_the_end.enter_context(relay(engine.gateway, Path(str(url.query["host"])) / ".s.PGSQL.5432"))
            return url.set(host=engine.host, port=port, query={}).render_as_string(hide_password=False)

        def exchange() -> dict[str, str]:
            """What lets users pay on a chain that containers reach, if there can be one: to an account of their own."""
            if engine.gateway is None or which("npm") is None:
                return {}
            chain: Regtest = request.getfixturevalue("regtest")
            esplora = urlsplit(chain.esplora_url)
            port = until_the_end.enter_context(relay(engine.gateway, (str(esplora.hostname), int(esplora.port or 0))))
            url = f"http://{engine.host}:{port}{esplora.path}"
            return {"BITCOIN_XPUB": chain.fresh_account(), "ESPLORA_URLS": url}

        @cache
        def begin(kind: str) -> int:
            folder = tmp_path_factory.mktemp("sam-local")
            variables = {**VARIABLES, **exchange(), "DATABASE_URL": database_url(kind)}
            served = SamLocal(engine, build_folder / "template.yaml", {"Parameters": variables}, folder)
            served.migrate()
            port = free_port()
            log = folder / "log"
            request.config.stash.setdefault(_LOGS, []).append(log)
            until_the_end.enter_context(served.serving("127.0.0.1", port, log))
            return port

        yield begin
