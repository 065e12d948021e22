"""What the emulator and `make sam-local` print when they are ready."""

from pathlib import Path

import pytest

from local import console

URL = "http://127.0.0.1:8000"
KEYS = {"client": "c", "miner": "m", "admin": "a"}


@pytest.mark.parametrize(
    ("volume", "command"),
    [
        (".local", "make faucet"),
        (".local2", "LOCAL_VOLUME={} make faucet"),
        ("my volume", "LOCAL_VOLUME='{}' make faucet"),
    ],
)
def test_the_faucet_is_told_of_the_volume_unless_it_looks_there_anyway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], volume: str, command: str
) -> None:
    monkeypatch.chdir(tmp_path)

    console.banner(URL, str(tmp_path / volume), KEYS, regtest=True)

    [line] = [line for line in capsys.readouterr().out.splitlines() if "make faucet" in line]
    assert line == f"  {command.format(tmp_path / volume)} ADDRESS=bcrt1... AMOUNT=150000 BLOCKS=2"


def test_without_a_node_there_is_no_word_of_the_faucet(capsys: pytest.CaptureFixture[str]) -> None:
    console.banner(URL, "/volume", KEYS)

    printed = capsys.readouterr().out
    assert (URL in printed, "faucet" in printed) == (True, False)
