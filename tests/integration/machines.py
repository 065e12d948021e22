"""What Hypothesis's state machines share: databases of their own, calls that break off, and how far they look."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from sqlalchemy import event

from tests.databases import PostgresCluster


class BrokenOff(Exception):
    pass


@contextmanager
def breaking_off(data: st.DataObject, most_statements: int) -> Iterator[None]:
    """Breaks off what is called at one of its statements, or instead of its commit; or lets it be."""
    from coordinator.core.database import database

    left = data.draw(st.one_of(st.just(most_statements), st.integers(0, most_statements)), "breaks off after")
    engine = database().engine

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise BrokenOff

    for moment in ("before_cursor_execute", "commit"):
        event.listen(engine, moment, count)
    try:
        yield
    except BrokenOff:
        # Of what answers nobody.
        pass
    finally:
        for moment in ("before_cursor_execute", "commit"):
            event.remove(engine, moment, count)


def databases_of(kind: str, folder: Path, request: pytest.FixtureRequest) -> Callable[[], str]:
    """What gives the URL of another migrated database of the kind with each call, the one before being done with."""
    numbers = iter(range(10**6))
    urls: list[str] = []

    def new_database() -> str:
        if kind == "postgresql":
            cluster: PostgresCluster = request.getfixturevalue("postgres")
            if urls:
                cluster.drop(urls.pop())
            urls.append(cluster.new_database())
            return urls[0]
        path = folder / f"{next(numbers)}.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        return f"sqlite:///{path}"

    return new_database


def model_examples(usually: int) -> int:
    """How many examples to look at: `MODEL_EXAMPLES`, which lets CI look farther, or as many as there usually are."""
    return int(os.environ.get("MODEL_EXAMPLES", usually))


def run_machine(machine: type[RuleBasedStateMachine], most: int, steps: int = 40) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=most,
            stateful_step_count=steps,
            deadline=None,
            derandomize=False,
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
