"""Any transactions of the ledger, in turn and at once: each as a whole or not at all, and balances are sums."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError

from coordinator.core.database import Database
from coordinator.ledger.errors import BalanceTooLarge, InsufficientFunds
from coordinator.ledger.models import EXCHANGE, ISSUANCE, MOST_ATOMS
from coordinator.ledger.postings import Account, Kind, Move, Part, Wallet, post, write_postings
from coordinator.users.ensuring import ensure_user, ensure_user_later
from tests.api import CLIENT, Api
from tests.money import ALICE, BOB, balance, give, give_users

OWNERS = ("alice", "bob", "carol")
PROCESSES = 4
_keys = count()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def move(amount: int, source: Any, target: Any, part: Part = Part.AVAILABLE) -> Move:
    return Move(amount, Account(source), Account(target, part), Kind.ADJUSTMENT)


def write(database: Database, *moves: Move, key: str | None = None) -> None:
    database.write(lambda tx: post(tx, key or f"test:{next(_keys)}", *moves, now_us=0))


def balances(database: Database) -> dict[str, tuple[int, int]]:
    return {
        owner: (available, held)
        for owner, available, held in rows(
            database, "SELECT owner_id, available_atoms, held_atoms FROM ledger_accounts"
        )
    }


def sums(database: Database) -> dict[str, tuple[int, int]]:
    """The same, worked out from the entries."""
    totals: Counter[tuple[str, str]] = Counter()
    for owner, part, amount in rows(database, "SELECT owner_id, account, amount_atoms FROM ledger_entries"):
        totals[owner, part] += amount
    return {owner: (totals[owner, "available"], totals[owner, "held"]) for owner, _ in list(totals)}


def rows(database: Database, statement: str) -> list[tuple[Any, ...]]:
    return database.read(lambda tx: [tuple(row) for row in tx.execute(text(statement))])


def without_empty(found: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    return {owner: amounts for owner, amounts in found.items() if any(amounts)}


_parts = st.sampled_from(Part)
_moves = st.builds(
    lambda amount, source, source_part, target, target_part: Move(
        amount, Account(source, source_part), Account(target, target_part), Kind.ADJUSTMENT
    ),
    st.integers(0, 5),
    st.sampled_from((*OWNERS, ISSUANCE, ISSUANCE)),
    st.just(Part.AVAILABLE),
    st.sampled_from(OWNERS),
    _parts,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(books=st.lists(st.lists(_moves, min_size=1, max_size=4), max_size=8))
def test_each_is_written_as_a_whole_or_refused(database: Database, books: list[list[Move]]) -> None:
    has = {owner: list(balances(database).get(owner, (0, 0))) for owner in (*OWNERS, ISSUANCE)}
    for moves in books:
        after = {owner: list(amounts) for owner, amounts in has.items()}
        for each in moves:
            for (owner, part), amount in ((each.source, -each.amount_atoms), (each.target, each.amount_atoms)):
                after[str(owner)][part is Part.HELD] += amount
        covered = min(after[owner][0] for owner in OWNERS) >= 0

        if covered:
            write(database, *moves)
            has = after
        else:
            with pytest.raises(InsufficientFunds):
                write(database, *moves)

        assert without_empty(balances(database)) == without_empty({o: (a, h) for o, (a, h) in has.items()})
    assert without_empty(balances(database)) == without_empty(sums(database))


def test_a_key_is_posted_once_and_changes_no_balance_again(database: Database) -> None:
    write(database, move(5, ISSUANCE, "alice"), key="once")

    with pytest.raises(IntegrityError):
        write(database, move(7, ISSUANCE, "bob"), key="once")

    assert without_empty(balances(database)) == {ISSUANCE: (-5, 0), "alice": (5, 0)}
    assert without_empty(sums(database)) == without_empty(balances(database))


def test_what_is_held_of_nobody_is_not_given_back(database: Database) -> None:
    write(database, move(5, ISSUANCE, "alice"))
    back = Move(1, Account("alice", Part.HELD), Account("alice"), Kind.RELEASE)

    # Nobody has spent too much, so this is no 402.
    with pytest.raises(IntegrityError):
        write(database, back)

    assert balances(database)["alice"] == (5, 0)


def test_a_balance_that_is_too_large_is_refused(database: Database) -> None:
    write(database, move(MOST_ATOMS, ISSUANCE, "alice"))

    with pytest.raises(BalanceTooLarge):
        write(database, move(1, "alice", "alice"), move(1, "exchange", "alice"))
    with pytest.raises(BalanceTooLarge):
        write(database, move(MOST_ATOMS + 1, "exchange", "bob"))

    assert balances(database)["alice"] == (MOST_ATOMS, 0)


def test_who_is_short_of_money_is_told_what_there_is(database: Database) -> None:
    write(database, move(500_000_000, ISSUANCE, "alice"), move(100_000_000, ISSUANCE, "bob"))

    with pytest.raises(InsufficientFunds) as refused:
        write(database, move(100_000_000, "alice", "carol"), move(200_000_000, "bob", "carol"))

    assert refused.value.details == {"available": "1"}


def test_a_use_case_may_go_on_with_the_balances(database: Database) -> None:
    def work(tx: Any) -> int:
        post(tx, f"test:{next(_keys)}", move(5, ISSUANCE, "alice"), now_us=0)
        write_postings(tx)
        read = tx.scalar(text("SELECT available_atoms FROM ledger_accounts WHERE owner_id = 'alice'"))
        post(tx, f"test:{next(_keys)}", move(2, "alice", "bob"), now_us=0)
        return int(read)

    assert database.write(work) == 5
    assert (balances(database)["alice"], balances(database)["bob"]) == ((3, 0), (2, 0))


def test_a_wallets_user_is_made_by_its_first_pay_and_found_by_the_next(database: Database) -> None:
    def pay(tx: Any) -> None:
        ensure_user_later(tx, BOB)
        post(tx, f"test:{next(_keys)}", move(5, ISSUANCE, Wallet(BOB)), now_us=0)

    for _ in range(2):
        database.write(pay)

    bob = database.write(lambda tx: ensure_user(tx, BOB))
    assert balances(database)[bob] == (10, 0)
    assert rows(database, "SELECT wallet FROM users") == [(BOB,)]


def test_many_at_once_lose_nothing_and_never_wait_in_a_circle(database: Database, database_url: str) -> None:
    for owner in OWNERS:
        write(database, move(20, ISSUANCE, owner))
    processes = [Database(database_url) for _ in range(PROCESSES)]
    failures: list[Any] = []
    for process in processes:
        event.listen(process.engine, "handle_error", lambda context: failures.append(context.original_exception))

    def work(number: int) -> Counter[str]:
        random, seen = Random(number), Counter[str]()
        for turn in range(40):
            # New owners come while others are at work.
            people = [*OWNERS, f"new {turn // 5}"]
            moves = [move(random.randint(0, 9), *random.sample(people, 2)) for _ in range(3)]
            try:
                write(processes[number], *moves)
                seen["written"] += 1
            except InsufficientFunds:
                seen["refused"] += 1
        return seen

    with ThreadPoolExecutor(PROCESSES) as pool:
        seen = sum(pool.map(work, range(PROCESSES)), Counter[str]())

    for process in processes:
        process.close()
    assert seen["written"] + seen["refused"] == 40 * PROCESSES
    assert min(seen.values()) > 0
    assert [failure for failure in failures if "deadlock" in str(failure)] == []
    assert without_empty(balances(database)) == without_empty(sums(database))
    assert sum(available + held for available, held in balances(database).values()) == 0


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
class TestOnPostgres:
    def test_a_job_that_pays_takes_one_trip_more(
        self, api: Api, client: Api, miner: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from coordinator.core.wire import Wire

        alice = give_users(monkeypatch, {CLIENT: ALICE})[ALICE]
        give(api, alice, "100")
        trips: list[int] = []
        pipeline = Wire._pipeline

        def counted(wire: Any, statements: Any, **options: Any) -> Any:
            trips.append(len(statements))
            return pipeline(wire, statements, **options)

        monkeypatch.setattr(Wire, "_pipeline", counted)

        def trips_of_a_cycle(price: str) -> int:
            miner.register(BOB, price=price)
            trips.clear()
            client.submit(max_price=price)
            assert miner.answer(miner.poll()[0]).status == 201
            return len(trips)

        # A class of jobs is looked for until it is known to be committed.
        for _ in range(2):
            trips_of_a_cycle("0")
        # The answer to a submission that is free is read with its commit.
        assert trips_of_a_cycle("0") + 1 == trips_of_a_cycle("1") > 1
        assert balance(api, alice) == ("99", "0")

    def test_a_refusal_costs_neither_the_connection_nor_what_is_prepared(self, database: Database) -> None:
        process = """
            SELECT pg_backend_pid(), count(*) FROM pg_prepared_statements WHERE statement LIKE '%INTO ledger_entries (%'
        """
        write(database, move(1, ISSUANCE, "alice"))
        before = rows(database, process)

        with pytest.raises(InsufficientFunds):
            write(database, move(2, "alice", "bob"))

        assert rows(database, process) == before == [(before[0][0], 1)]


def test_what_is_taken_back_may_be_owed_and_nothing_is_spent_until_it_is_paid(database: Database) -> None:
    def take_back(amount: int) -> None:
        write(database, Move(amount, Account("alice"), Account(EXCHANGE), Kind.REVERSAL))

    def have(amount: int) -> None:
        assert balances(database)["alice"][0] == amount

    write(database, move(10, EXCHANGE, "alice"))
    write(database, move(8, "alice", "bob"))
    take_back(10)
    have(-8)
    for _ in range(2):
        with pytest.raises(InsufficientFunds):
            write(database, move(1, "alice", "bob"))
    write(database, move(3, ISSUANCE, "alice"))
    have(-5)
    with pytest.raises(InsufficientFunds):
        write(database, move(1, "alice", "bob"))
    take_back(2)
    have(-7)
    write(database, move(9, ISSUANCE, "alice"))
    write(database, move(2, "alice", "bob"))
    have(0)
    with pytest.raises(InsufficientFunds):
        write(database, move(1, "alice", "bob"))
    assert balances(database) == sums(database)
