from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.emulator.process import ECHO, TEMPLATE, Emulator

Start = Callable[..., Emulator]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one function that answers with its event."""
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    write_handler(tmp_path, ECHO)
    return tmp_path


@pytest.fixture
def start(project: Path) -> Iterator[Start]:
    """Starts emulators of the project, and ends those that the test has not."""
    started: list[Emulator] = []

    def begin(*arguments: str, **variables: str) -> Emulator:
        started.append(Emulator(project, *arguments, **variables))
        return started[-1]

    yield begin
    for emulator in started:
        emulator.stop()


def write_handler(project: Path, code: str, name: str = "one") -> None:
    folder = project / "functions" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "app.py").write_text(code)
