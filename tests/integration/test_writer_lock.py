"""Writers of one SQLite database: one at a time, and none overtakes another that waits."""

import fcntl
import signal
import threading
import time
from pathlib import Path

import pytest

from coordinator.core.sqlite import WriterLock

_LONGEST_WAIT_SECONDS = 10


def first_in_line_exists(database: Path) -> bool:
    """Whether somebody waits for the writer."""
    with database.with_name(database.name + ".next").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def wait_for_one_in_line(database: Path) -> None:
    until = time.monotonic() + _LONGEST_WAIT_SECONDS
    while not first_in_line_exists(database):
        assert time.monotonic() < until
        time.sleep(0.001)


def test_who_has_just_written_does_not_write_again_before_one_who_waits(tmp_path: Path) -> None:
    database = tmp_path / "database"
    ours, theirs = WriterLock(database), WriterLock(database)
    wrote: list[str] = []

    def write() -> None:
        with theirs.held():
            wrote.append("the one who waits")

    for _ in range(50):
        wrote.clear()
        with ours.held():
            waiting = threading.Thread(target=write)
            waiting.start()
            wait_for_one_in_line(database)
            wrote.append("first")
        with ours.held():
            wrote.append("again")
        waiting.join()

        assert wrote == ["first", "the one who waits", "again"]


def test_who_gives_up_waiting_leaves_the_line(tmp_path: Path) -> None:
    database = tmp_path / "database"
    ours, theirs = WriterLock(database), WriterLock(database)
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("gave up"))
    try:
        with ours.held():
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(pytest.fail.Exception), theirs.held():
                pass
    finally:
        signal.signal(signal.SIGALRM, before)

    assert not first_in_line_exists(database)
    with theirs.held(), pytest.raises(BlockingIOError), database.with_name("database.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
