"""When the counters of this process are written down, so that no request waits for it and nothing is written late."""

import time
from functools import cache
from threading import Lock, Thread

from coordinator.core.config import in_lambda, settings
from coordinator.core.database import Database, database
from coordinator.core.log import logger
from coordinator.metrics.counters import counters, fold_ended

# A commit for each process and pause; with what it takes, nothing is written more than 5 seconds late.
_PAUSE_SECONDS = 4.0
# A request waits no longer than this for a database that does not answer.
_LONGEST_WAIT_SECONDS = 0.25


class Flusher:
    """Writes every few seconds at most, in a thread that ends when there is nothing left to write.

    Lambda freezes an environment as soon as it has answered, and its threads with it. So there the end of a request
    waits for the write, unless one was made a moment ago.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._running = False
        self._last = -_PAUSE_SECONDS
        self._failing = False
        # SQLite's one connection of this process is the requests' own.
        on_sqlite = database().engine.dialect.name == "sqlite"
        self._database = Database(settings().database) if on_sqlite else database()

    def request_ended(self) -> None:
        with self._lock:
            if self._running or (in_lambda() and time.monotonic() - self._last < _PAUSE_SECONDS):
                return
            self._running = True
        thread = Thread(target=self._run, name="flusher", daemon=True)
        thread.start()
        if in_lambda():
            thread.join(_LONGEST_WAIT_SECONDS)

    def _run(self) -> None:
        while True:
            self._flush()
            if not in_lambda():
                time.sleep(_PAUSE_SECONDS)
            with self._lock:
                if in_lambda() or not counters().unwritten:
                    self._running = False
                    return

    def _flush(self) -> None:
        try:
            counters().flush(self._database)
        except Exception as error:  # noqa: BLE001  (whatever it is, the counts are still there the next time)
            if not self._failing:
                logger.warning("counters can't be written: %s", type(error).__name__)
            self._failing = True
        else:
            self._failing = False
        self._last = time.monotonic()


@cache
def flusher() -> Flusher:
    return Flusher()


def schedule_ran(name: str) -> None:
    """Counts a run of a schedule, and does what is to be done for the counters from time to time."""
    counters().add({f"schedule_runs_total {name}": 1})
    counters().flush(database())
    database().write(fold_ended)
