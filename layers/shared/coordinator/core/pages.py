"""Pages of a list, newest first: ids sort by time, so the last id of a page is where the next one begins."""

from typing import Any

from sqlalchemy import Column, Connection, Row, Select

from coordinator.core.schemas import PageQuery


def fetch_page(
    tx: Connection, query: Select[Any], id_column: Column[Any], page: PageQuery
) -> tuple[list[Row[Any]], str | None]:
    """The rows of one page and the cursor of the next, None at the end."""
    if page.cursor is not None:
        query = query.where(id_column < page.cursor)
    # One more row than asked for tells whether there is a next page.
    rows = list(tx.execute(query.order_by(id_column.desc()).limit(page.limit + 1)))
    if len(rows) <= page.limit:
        return rows, None
    rows.pop()
    return rows, str(getattr(rows[-1], id_column.name))
