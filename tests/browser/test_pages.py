"""The documentation pages in a real browser, under the policy that they are served with."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulator.process import ROOT, Emulator

DOCUMENT = json.loads((ROOT / "functions/public/openapi.json").read_text())


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    served = Emulator(tmp_path_factory.mktemp("browser"), "--template", str(ROOT / "template.yaml"), "--no-reload")
    yield served
    served.stop()


def visited(url: str, folder: Path) -> tuple[str, list[str]]:
    """What a browser makes of a page, and what it has to complain about."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("Chromium (not installed)")
    done = subprocess.run(
        [
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--virtual-time-budget=20000", "--enable-logging=stderr", f"--user-data-dir={folder}", "--dump-dom"),
            url,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


@pytest.mark.parametrize("page", ["/docs", "/redoc", "/api/docs"])
def test_a_page_shows_every_operation_and_breaks_no_policy(emulator: Emulator, tmp_path: Path, page: str) -> None:
    dom, complaints = visited(f"http://127.0.0.1:{emulator.port}{page}", tmp_path)

    shown = re.sub(r"<[^>]*>|\u200b", "", dom)
    assert [path for path in DOCUMENT["paths"] if path not in shown] == []
    refused = [line for line in complaints if "Content Security Policy" in line]
    # ReDoc's own emblem would come from another host; that it does not is as wanted.
    assert [line for line in refused if "redoc.ly" not in line] == []
