"""Pages of a list, newest first: ids sort by time, so the last id of a page is where the next one begins."""

from collections.abc import Iterable
from itertools import accumulate
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, Select

from coordinator.core.schemas import PageQuery

# Lambda hands out 6 MB, in a JSON string: there a character takes two bytes where it is escaped, else up to four.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
_MOST_CHARACTERS = 1_500_000


def fetch_page(
    tx: Connection,
    query: Select[Any],
    id_column: Column[Any],
    page: PageQuery,
    *,
    characters: ColumnElement[int] | None = None,
) -> tuple[list[Row[Any]], str | None]:
    """The rows of one page and the cursor of the next, None at the end.

    It is shorter where the rows have so many characters that no more fit into an answer; one always fits.
    """
    if page.cursor is not None:
        query = query.where(id_column < page.cursor)
    # One more row than asked for tells whether there is a next page.
    query = query.order_by(id_column.desc())
    most = page.limit
    if characters is not None:
        most = fitting(tx.scalars(query.with_only_columns(characters).limit(most)))
    rows = list(tx.execute(query.limit(most + 1)))
    if len(rows) <= most:
        return rows, None
    rows.pop()
    return rows, str(getattr(rows[-1], id_column.name))


def fitting(lengths: Iterable[int]) -> int:
    """How many of the first of these texts fit into one answer, at least one."""
    return max(1, sum(characters <= _MOST_CHARACTERS for characters in accumulate(lengths)))
