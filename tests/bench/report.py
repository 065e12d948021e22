"""What all benches share: lines of progress, percentiles, tables, and the files of figures."""

import json
import os
import platform
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

FOLDER = Path("build/bench")
PERCENTS = (50, 95, 99)

_console = Console(width=None if os.isatty(1) else 120)
# Kept in the environment, so that the processes of a load count from the same start.
_began = float(os.environ.setdefault("BENCH_BEGAN", str(time.time())))


def say(line: str) -> None:
    """Tells what is being done, with the seconds since the start."""
    _console.print(f"[{time.time() - _began:4.0f} s] {line}", markup=False, highlight=False)


def show(title: str, headings: Sequence[str], rows: Iterable[Sequence[Any]], *, note: str | None = None) -> None:
    """Prints a table whose first column says what and whose others are figures."""
    table = Table(title=title, caption=note, caption_justify="left", title_justify="left")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(str, row))
    _console.print(table)


def percentile(values: Sequence[float], percent: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def percentiles(values: Sequence[float]) -> dict[str, float]:
    return {f"p{percent}": percentile(values, percent) for percent in PERCENTS}


def keep(name: str, figures: dict[str, Any]) -> None:
    """Writes the figures of a bench where the last ones were."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    write(FOLDER / f"{name}.json", figures)


def write(path: Path, figures: dict[str, Any]) -> None:
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()}
    path.write_text(json.dumps({"machine": machine, **figures}, indent=1) + "\n")
