"""The kinds of transactions, which begin differently on each database."""

from enum import Enum, auto

from sqlalchemy import Connection

_KIND = "coordinator_kind"


class Kind(Enum):
    READ = auto()
    # All statements see the same state.
    SNAPSHOT = auto()
    WRITE = auto()


def will_be(tx: Connection, kind: Kind) -> None:
    """Says what the next transaction of a connection is, before it begins."""
    tx.info[_KIND] = kind


def kind_of(tx: Connection) -> Kind:
    kind: Kind = tx.info[_KIND]
    return kind
