"""What SAM makes of the template, and the containers that it serves it in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sam.build import NoRuntimePython, build
from tests.sam.engine import Engine, NoEngine, container_engine


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
