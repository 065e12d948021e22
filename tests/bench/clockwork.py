"""Times what the database driver does, statement by statement."""

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine


class SqlClock:
    """Notes how long each statement and commit of an engine takes, in milliseconds, until it is reset."""

    def __init__(self, engine: Engine) -> None:
        self.statements: list[tuple[str, float]] = []
        self.commits: list[float] = []
        dialect: Any = engine.dialect
        dialect.do_execute = self._timed(
            dialect.do_execute, lambda arguments, ms: self.statements.append((arguments[1], ms))
        )
        dialect.do_commit = self._timed(dialect.do_commit, lambda _, ms: self.commits.append(ms))

    def reset(self) -> None:
        self.statements.clear()
        self.commits.clear()

    def milliseconds(self, containing: str = "") -> float:
        """Of all statements, or of those with this text."""
        return sum(ms for statement, ms in self.statements if containing in statement)

    @staticmethod
    def _timed(function: Callable[..., Any], note: Callable[[tuple[Any, ...], float], None]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                note(arguments, (time.perf_counter() - began) * 1000)

        return timed
