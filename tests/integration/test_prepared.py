"""Prepared statements behave as all others do: on both databases, in transactions, and when something goes wrong."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, bindparam, column, event, insert, make_url, select, table, text
from sqlalchemy.exc import DBAPIError

from coordinator.core.database import Database
from coordinator.core.prepared import Later, Prepared
from tests.databases import PostgresCluster

THINGS = table("things", *(column(name) for name in ("id", "name", "amount", "share")))
ADD = {"id": "a", "name": "first", "amount": 1, "share": 0.5}
_REFUSE_WITH_THE_COMMIT = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not with the commit'; END $$;
CREATE CONSTRAINT TRIGGER refuses AFTER INSERT ON things DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW WHEN (NEW.amount = 1) EXECUTE FUNCTION refuse()
"""


class BrokenOff(Exception):
    """What a use case raises that does not end well."""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    definition = "id varchar(36) PRIMARY KEY, name text, amount bigint, share double precision"
    database.write(lambda tx: tx.execute(text(f"CREATE TABLE things ({definition})")))
    yield database
    database.close()


@pytest.fixture
def add() -> Prepared:
    return Prepared(insert(THINGS))


def fail(tx: Connection) -> None:
    tx.execute(text("SELECT 1"))
    raise BrokenOff


def names(database: Database) -> list[str]:
    return database.read(lambda tx: list(tx.scalars(select(THINGS.c.name).order_by(THINGS.c.id))))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    amount=st.none() | st.integers(-(2**63), 2**63 - 1),
    share=st.none() | st.floats(allow_nan=False, allow_infinity=False),
)
def test_every_value_comes_back_as_it_was(database: Database, name: Any, amount: Any, share: Any) -> None:
    given_values = {"id": "a", "name": name, "amount": amount, "share": share}
    add, find = Prepared(insert(THINGS)), Prepared(select(THINGS).where(THINGS.c.id == bindparam("wanted")))

    def there_and_back(tx: Connection) -> Any:
        tx.execute(text("DELETE FROM things"))
        add.later(tx, given_values)
        return find.first(tx, {"wanted": "a"})

    found = database.write(there_and_back)

    assert found._asdict() == given_values
    assert database.read(lambda tx: tx.execute(select(THINGS)).one()) == found


def test_nothing_is_none(database: Database) -> None:
    find = Prepared(select(THINGS).where(THINGS.c.id == bindparam("wanted")))

    assert database.read(lambda tx: (find.first(tx, {"wanted": "a"}), find.rows(tx, {"wanted": "a"}))) == (None, [])


def test_statements_take_effect_in_their_order(database: Database, add: Prepared) -> None:
    rename = Prepared(text("UPDATE things SET name = name || :more"))

    def work(tx: Connection) -> None:
        add.later(tx, ADD)
        tx.execute(text("UPDATE things SET name = name || ' second'"))
        rename.later(tx, {"more": " third"})
        rename.rows(tx, {"more": " fourth"})
        tx.execute(text("UPDATE things SET name = name || ' fifth'"))
        rename.later(tx, {"more": " sixth"})

    database.write(work)

    assert names(database) == ["first second third fourth fifth sixth"]


def test_what_waits_tells_what_it_gave_once_it_is_committed(database: Database, add: Prepared) -> None:
    rename = Prepared(text("UPDATE things SET name = name || :more RETURNING name"))

    def work(tx: Connection) -> tuple[Later, Later]:
        return add.later(tx, ADD), rename.later(tx, {"more": " second"})

    added, renamed = database.write(work)

    assert (added.rows(), renamed.rows()) == ([], [("first second",)])


def test_what_is_asked_for_before_is_run_at_once_and_in_order(database: Database, add: Prepared) -> None:
    rename = Prepared(text("UPDATE things SET name = name || :more RETURNING name"))

    def work(tx: Connection) -> list[Any]:
        add.later(tx, ADD)
        second, third = (rename.later(tx, {"more": more}) for more in (" second", " third"))
        return [third.rows(), second.rows(), tx.scalar(select(THINGS.c.name))]

    assert database.write(work) == [[("first second third",)], [("first second",)], "first second third"]


def test_what_waits_is_undone_with_the_rest(database: Database, add: Prepared) -> None:
    def fail(tx: Connection) -> None:
        add.later(tx, ADD)
        raise BrokenOff

    with pytest.raises(BrokenOff):
        database.write(fail)

    assert names(database) == []
    database.write(lambda tx: add.later(tx, ADD))
    assert names(database) == ["first"]


@pytest.mark.parametrize("waits", [True, False])
def test_an_error_undoes_everything_and_the_next_transaction_is_sound(
    database: Database, add: Prepared, waits: bool
) -> None:
    mark = Prepared(text("UPDATE things SET amount = :amount"))

    def twice(tx: Connection) -> None:
        add.later(tx, ADD)
        add.later(tx, ADD)
        # Prepared behind the one that fails.
        mark.later(tx, {"amount": 2})
        if not waits:
            tx.execute(text("SELECT 1"))

    with pytest.raises(DBAPIError, match=r"(?i)unique"):
        database.write(twice)

    assert names(database) == []
    database.write(lambda tx: (add.later(tx, ADD), mark.later(tx, {"amount": 3})))
    assert names(database) == ["first"]


def test_listeners_hear_of_it_as_of_any_statement(database: Database, add: Prepared) -> None:
    heard: list[tuple[str, Any]] = []
    event.listen(database.engine, "before_cursor_execute", lambda *told: heard.append((told[2], told[3])))

    database.write(lambda tx: add.later(tx, ADD))

    [(statement, values)] = [told for told in heard if "things" in told[0]]
    assert statement.startswith("INSERT INTO things")
    assert values == ADD


def test_a_failing_commit_is_told(database: Database, add: Prepared) -> None:
    def fail(_tx: Connection) -> None:
        raise BrokenOff

    event.listen(database.engine, "commit", fail)
    with pytest.raises(BrokenOff):
        database.write(lambda tx: add.later(tx, ADD))
    event.remove(database.engine, "commit", fail)

    assert names(database) == []


@pytest.mark.parametrize("database_url", ["pgbouncer"], indirect=True)
def test_behind_a_pooler_nothing_is_prepared(database: Database, add: Prepared) -> None:
    kept = text("SELECT count(*) FROM pg_prepared_statements")

    for number in range(4):
        database.write(lambda tx, number=number: add.later(tx, {**ADD, "id": str(number)}))

    assert [database.read(lambda tx: tx.scalar(kept)) for _ in range(2)] == [0, 0]
    assert names(database) == ["first"] * 4


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
class TestPreparedByTheServer:
    def test_a_server_prepares_each_once(self, database: Database, add: Prepared) -> None:
        for number in range(3):
            database.write(lambda tx, number=number: add.later(tx, {**ADD, "id": str(number)}))
            with pytest.raises(BrokenOff):
                database.write(fail)

        kept = text("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'INSERT INTO things%'")
        assert database.read(lambda tx: tx.scalar(kept)) == 1

    def test_what_the_server_has_forgotten_is_prepared_again(self, database: Database, add: Prepared) -> None:
        database.write(lambda tx: add.rows(tx, ADD))
        database.write(lambda tx: tx.execute(text("DEALLOCATE ALL")))

        database.write(lambda tx: add.later(tx, {**ADD, "id": "b"}))

        assert names(database) == ["first", "first"]

    @pytest.mark.parametrize("how", ["rows", "later"])
    def test_what_a_migration_has_changed_the_columns_of_is_prepared_again(
        self, database: Database, database_url: str, add: Prepared, how: str
    ) -> None:
        find = Prepared(select(THINGS.c.name, THINGS.c.amount).where(THINGS.c.id == bindparam("wanted")))

        def found() -> list[Any]:
            found = database.write(lambda tx: getattr(find, how)(tx, {"wanted": "a"}))
            return list(found if how == "rows" else found.rows())

        def found_otherwise() -> list[Any]:
            return list(database.read(lambda tx: tx.execute(select(THINGS.c.name, THINGS.c.amount)).all()))

        database.write(lambda tx: add.later(tx, ADD))
        before = [found(), *(found_otherwise() for _ in range(4))]
        migrating = Database(database_url)
        migrating.write(lambda tx: tx.execute(text("ALTER TABLE things ALTER amount TYPE integer")))
        migrating.close()

        assert [found(), found_otherwise()] == before[:2] == [[("first", 1)]] * 2


@pytest.mark.parametrize("database_url", ["postgresql", "pgbouncer"], indirect=True)
class TestOnPostgres:
    @pytest.mark.parametrize("waits", [True, False])
    @pytest.mark.parametrize("how", ["immediate", "fast"])
    def test_a_connection_that_broke_before_is_replaced(
        self, postgres: PostgresCluster, database: Database, add: Prepared, how: str, waits: bool
    ) -> None:
        postgres.restart(how)

        database.write(lambda tx: add.later(tx, ADD) if waits else add.rows(tx, ADD))

        assert names(database) == ["first"]

    def test_work_larger_than_any_buffer_goes_through(self, database: Database, add: Prepared) -> None:
        large = "x" * 3_000_000

        def work(tx: Connection) -> None:
            for number in range(5):
                add.later(tx, {**ADD, "id": str(number), "name": large})

        database.write(work)

        assert [len(name) for name in names(database)] == [3_000_000] * 5

    def test_whoever_goes_on_after_an_error_is_told_that_nothing_was_committed(
        self, database: Database, add: Prepared
    ) -> None:
        def work(tx: Connection) -> None:
            add.rows(tx, ADD)
            with pytest.raises(DBAPIError, match="division"):
                tx.execute(text("SELECT 1 / 0"))

        with pytest.raises(DBAPIError, match="nothing was committed"):
            database.write(work)

        assert names(database) == []

    def test_transactions_are_of_their_kind_whatever_is_the_default(
        self, database: Database, database_url: str
    ) -> None:
        show = Prepared(text("SELECT current_setting('transaction_isolation') AS level"))
        name = make_url(database_url).database
        database.write(
            lambda tx: tx.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_isolation = serializable'))
        )
        database.close()

        [written] = database.write(lambda tx: show.later(tx, {})).rows()
        [seen] = database.snapshot(lambda tx: show.later(tx, {})).rows()

        assert (written.level, seen.level) == ("read committed", "repeatable read")

    @pytest.mark.parametrize("others", [0, 1])
    def test_what_is_refused_only_with_the_commit_is_told_and_nothing_is_left(
        self, database: Database, add: Prepared, others: int
    ) -> None:
        database.write(lambda tx: tx.execute(text(_REFUSE_WITH_THE_COMMIT)))

        def work(tx: Connection) -> None:
            for _ in range(others):
                tx.execute(text("SELECT 1"))
            add.later(tx, ADD)

        with pytest.raises(DBAPIError, match="not with the commit"):
            database.write(work)

        assert names(database) == []
        database.write(lambda tx: add.later(tx, {**ADD, "amount": 2}))
        assert names(database) == ["first"]

    def test_what_is_asked_alone_is_committed_and_heard_by_the_next_who_takes_the_connection(
        self, database: Database
    ) -> None:
        add = Prepared(insert(THINGS).returning(THINGS.c.name))

        asked = add.ask(database, ADD)

        with pytest.raises(BrokenOff):
            database.write(fail)
        assert names(database) == ["first"]
        assert asked.row(database).name == "first"

    def test_what_fails_alone_is_told_to_the_one_who_asked(self, database: Database) -> None:
        add = Prepared(insert(THINGS).returning(THINGS.c.name))
        add.ask(database, ADD)

        again = add.ask(database, ADD)

        assert names(database) == ["first"]
        with pytest.raises(psycopg.errors.UniqueViolation):
            again.row(database)

    def test_a_connection_that_breaks_while_something_is_asked_is_replaced(
        self, postgres: PostgresCluster, database: Database
    ) -> None:
        sleep = Prepared(text("SELECT pg_sleep(CAST(:seconds AS double precision))"))
        asked = sleep.ask(database, {"seconds": 60.0})

        postgres.restart("immediate")

        assert names(database) == []
        with pytest.raises(psycopg.OperationalError):
            asked.row(database)
