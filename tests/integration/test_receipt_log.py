"""The transparency log over HTTP: every receipt is in it, in an order that never changes, and anyone can prove it."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from aitbc_verify.checkpoints import verified_checkpoint
from aitbc_verify.errors import NotVerified
from aitbc_verify.merkle import EMPTY_ROOT
from tests.api import Api, forget_process_state
from tests.integration.logged import (
    checkpoint,
    entries,
    included,
    issue,
    issued,
    jwks,
    kept_notes,
    require_growth,
    waiting,
)

NOBODYS_ID = "0199a3c4-6c20-7f44-9b1d-2a7c5e8f0d33"


@pytest.fixture
def schedule(api: Api) -> Any:
    from receipts.growth import handler

    return lambda: handler({}, None)


def test_a_receipt_is_proved_right_after_the_result(api: Api, client: Api, miner: Api) -> None:
    client.submit()
    miner.register()
    receipt = miner.answer(miner.poll()[0]).json["receipt"]

    index, signed = included(api, receipt["id"])

    assert (index, signed.size) == (0, 1)


def test_the_schedule_takes_in_what_waits_in_the_order_of_issue(api: Api, schedule: Any) -> None:
    ids = issued(5)

    assert (schedule(), schedule()) == ({"taken": 5, "size": 5}, {"taken": 0, "size": 5})
    assert entries() == list(enumerate(ids))
    assert waiting() == set()
    assert [included(api, receipt_id) for receipt_id in ids] == [(index, checkpoint(api)) for index in range(5)]


def test_what_comes_later_stands_behind_and_nothing_moves(api: Api, schedule: Any) -> None:
    first = issued(3)
    places = [included(api, receipt_id)[0] for receipt_id in first]

    later = issued(4)
    schedule()

    assert [included(api, receipt_id)[0] for receipt_id in first] == places
    assert {included(api, receipt_id)[0] for receipt_id in later} == {3, 4, 5, 6}


def test_many_batches_are_one_log(api: Api, schedule: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receipts.growth.BATCH", 4)
    ids = issued(23)

    assert schedule() == {"taken": 23, "size": 23}
    assert entries() == list(enumerate(ids))
    signed = [verified_checkpoint(note, jwks(api)) for note in kept_notes()]
    assert [each.size for each in signed] == [4, 8, 12, 16, 20, 23]
    for older in signed:
        require_growth(api, older, signed[-1])


def test_an_older_id_that_is_committed_later_is_not_lost(api: Api, schedule: Any) -> None:
    from coordinator.core.database import database
    from coordinator.core.ids import new_id

    older_id = new_id()
    newer = issued(2)
    schedule()

    database().write(lambda tx: issue(tx, older_id))
    schedule()

    assert entries() == list(enumerate([*newer, older_id]))


def test_an_empty_log_has_a_checkpoint(api: Api) -> None:
    signed = checkpoint(api)
    issued(1)

    assert (signed.size, signed.root) == (0, EMPTY_ROOT)
    require_growth(api, signed, checkpoint(api))


def test_a_checkpoint_covers_all_receipts_that_there_are(api: Api) -> None:
    sizes = [checkpoint(api).size for _ in range(3) if issued(2)]

    assert sizes == [2, 4, 6]


def test_a_log_that_has_not_grown_is_not_signed_again(api: Api, schedule: Any) -> None:
    [receipt_id] = issued(1)

    notes = {api.get("/v1/receipts/checkpoint").json["checkpoint"] for _ in range(2)}
    schedule()
    included(api, receipt_id)

    assert list(notes) == kept_notes()


def test_growth_is_proved_between_all_checkpoints(api: Api) -> None:
    signed = [checkpoint(api) for _ in range(12) if issued(1)]

    for place, older in enumerate(signed):
        for newer in signed[place:]:
            require_growth(api, older, newer)


def test_a_receipt_is_proved_under_an_earlier_checkpoint(api: Api) -> None:
    [receipt_id] = issued(1)
    before = checkpoint(api)
    issued(4)
    now = checkpoint(api)

    assert included(api, receipt_id) == (0, now)
    assert included(api, receipt_id, "?tree_size=1") == (0, before)


@pytest.mark.parametrize("receipt_id", [NOBODYS_ID, "no-id", "%20", "A" * 1000, NOBODYS_ID.upper()])
def test_a_receipt_that_is_unknown_is_404(api: Api, receipt_id: str) -> None:
    answer = api.get(f"/v1/receipts/{receipt_id}/inclusion")

    assert (answer.status, answer.error) == (404, "RECEIPT_NOT_FOUND")


@pytest.mark.parametrize("tree_size", [1, 3, 5, 2**53 - 1])
def test_a_tree_that_was_not_signed_or_lacks_the_receipt_is_400(api: Api, tree_size: int) -> None:
    issued(1)
    checkpoint(api)
    issued(1)
    [receipt_id] = issued(1)
    included(api, receipt_id)
    issued(1)
    checkpoint(api)

    answer = api.get(f"/v1/receipts/{receipt_id}/inclusion?tree_size={tree_size}")

    if tree_size == 3:
        assert answer.status == 200
    else:
        assert (answer.status, answer.error) == (400, "INVALID_RANGE")


@pytest.mark.parametrize("sizes", [(2, 1), (0, 4), (4, 4), (3, 10**30), (10**30, 10**30)])
def test_ranges_that_the_log_has_not_are_400(api: Api, sizes: tuple[int, int]) -> None:
    issued(3)
    checkpoint(api)

    answer = api.get(f"/v1/receipts/consistency?from={sizes[0]}&to={sizes[1]}")

    assert (answer.status, answer.error) == (400, "INVALID_RANGE")
    assert answer.json["error"]["details"] == {"tree_size": 3}


@pytest.mark.parametrize("query", ["", "?from=1", "?to=1", "?from=-1&to=1", "?from=a&to=1", "?from=1.5&to=2"])
def test_what_is_no_range_is_422(api: Api, query: str) -> None:
    answer = api.get(f"/v1/receipts/consistency{query}")

    assert (answer.status, answer.error) == (422, "VALIDATION_ERROR")


@pytest.mark.parametrize("tree_size", ["0", "-1", "x", str(2**53), str(10**30)])
def test_what_is_no_size_is_422(api: Api, tree_size: str) -> None:
    answer = api.get(f"/v1/receipts/{NOBODYS_ID}/inclusion?tree_size={tree_size}")

    assert (answer.status, answer.error) == (422, "VALIDATION_ERROR")


def test_nothing_is_proved_of_what_is_not_signed(api: Api) -> None:
    from coordinator.core.database import database
    from coordinator.receipts import log

    issued(2)
    checkpoint(api)
    issued(2)
    database().write(lambda tx: log.take_in(tx, 10))

    assert api.get("/v1/receipts/consistency?from=2&to=4").error == "INVALID_RANGE"


def test_who_asks_for_one_of_very_many_that_wait_is_asked_to_come_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordinator.receipts.proofs.BATCH", 2)
    monkeypatch.setattr("coordinator.receipts.proofs._MOST_BATCHES", 2)
    *_, last = issued(7)

    early = api.get(f"/v1/receipts/{last}/inclusion")

    assert (early.status, early.error, early.headers["retry-after"]) == (503, "RECEIPT_NOT_LOGGED", "1")
    assert included(api, last)[0] == 6


def test_checkpoints_of_before_and_after_a_change_of_the_secret_are_of_one_log(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    [receipt_id] = issued(1)
    before = checkpoint(api)
    monkeypatch.setenv("SECRET_KEY", "another-test-secret-9876543210-zyxwvutsrq")
    forget_process_state()

    assert checkpoint(api) == before
    issued(2)
    after = checkpoint(api)

    assert (after.origin, after.size) == (before.origin, 3)
    require_growth(api, before, after)
    assert included(api, receipt_id) == (0, after)


def test_a_smaller_log_that_was_signed_meanwhile_is_not_shown_after_a_larger_one(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coordinator.receipts import checkpoints, proofs

    sign = checkpoints.signed_note
    sizes = []

    def sign_slowly(origin: str, size: int, *rest: Any) -> str:
        note = sign(origin, size, *rest)
        sizes.append(size)
        if size == 1:
            issued(1)
            assert proofs.newest_checkpoint().tree_size == 2
        return note

    monkeypatch.setattr(checkpoints, "signed_note", sign_slowly)
    issued(1)

    assert checkpoint(api).size == 2
    assert sizes == [1, 2]
    assert [verified_checkpoint(note, jwks(api)).size for note in kept_notes()] == [2]


def test_two_databases_never_have_logs_of_one_name(api: Api, tmp_path: Any) -> None:
    from coordinator.core.database import Database
    from coordinator.migrations.upgrade import upgrade

    url = f"sqlite:///{tmp_path / 'other.db'}"
    upgrade(url)
    other = Database(url)
    name = other.read(lambda tx: tx.scalar(text("SELECT origin FROM receipt_log_origin")))
    other.close()

    assert checkpoint(api).origin.startswith("aitbc-coordinator/receipts/")
    assert checkpoint(api).origin != name


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE receipt_log SET log_index = log_index + 10",
        "UPDATE receipt_log SET hashes = hashes",
        "DELETE FROM receipt_log WHERE log_index = 0",
        "UPDATE receipt_log_checkpoints SET note = ''",
        "DELETE FROM receipt_log_checkpoints",
        "UPDATE receipt_log_origin SET origin = 'another'",
        "DELETE FROM receipt_log_origin",
    ],
)
def test_the_database_refuses_to_change_the_log(api: Api, schedule: Any, change: str) -> None:
    from coordinator.core.database import database

    issued(2)
    schedule()

    with pytest.raises(DBAPIError, match="log of receipts is never changed"):
        database().write(lambda tx: tx.execute(text(change)))


def test_no_two_receipts_have_one_place_and_none_has_two(api: Api, schedule: Any) -> None:
    from coordinator.core.database import database

    first, _ = issued(2)
    schedule()

    for index, receipt_id in ((0, NOBODYS_ID), (2, first)):
        entry = text(f"INSERT INTO receipt_log VALUES ({index}, '{receipt_id}', :hashes)")
        with pytest.raises(DBAPIError):
            database().write(lambda tx, entry=entry: tx.execute(entry, {"hashes": b""}))


def rewrite(change: Any) -> None:
    """Lets whoever owns the database make the log anew, as another order of other proofs, and forget what he signed."""
    from aitbc_verify.merkle import leaf_hash
    from coordinator.core.database import database
    from coordinator.receipts.models import receipts
    from coordinator.receipts.tree import Edge

    def forge(tx: Any) -> None:
        for table in ("receipt_log", "receipt_log_checkpoints"):
            if tx.dialect.name == "sqlite":
                for what in ("update", "delete"):
                    tx.execute(text(f"DROP TRIGGER {table}_refuse_{what}"))
            else:
                tx.execute(text(f"DROP TRIGGER {table}_refuse_change ON {table}"))
        proof_by_id = {row.id: row.proof for row in tx.execute(receipts.select())}
        order = [row.receipt_id for row in tx.execute(text("SELECT receipt_id FROM receipt_log ORDER BY log_index"))]
        forged = change([(receipt_id, proof_by_id[receipt_id]) for receipt_id in order])
        tx.execute(text("DELETE FROM receipt_log"))
        tx.execute(text("DELETE FROM receipt_log_checkpoints"))
        edge = Edge(0, [])
        for index, (receipt_id, proof) in enumerate(forged):
            entry = text(f"INSERT INTO receipt_log VALUES ({index}, '{receipt_id}', :hashes)")
            tx.execute(entry, {"hashes": edge.add(leaf_hash(proof.encode()))})

    database().write(forge)


FORGERIES = {
    "changed": lambda log: [log[0], (log[1][0], "another proof"), *log[2:]],
    "removed": lambda log: [log[0], *log[2:]],
    "reordered": lambda log: [log[1], log[0], *log[2:]],
    "inserted": lambda log: [(NOBODYS_ID, "another proof"), *log],
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_log_that_was_rewritten_is_found_by_whoever_has_a_checkpoint(api: Api, forgery: str) -> None:
    issued(6)
    before = checkpoint(api)
    rewrite(FORGERIES[forgery])
    issued(3)
    after = checkpoint(api)

    with pytest.raises(NotVerified):
        require_growth(api, before, after)


def test_an_honest_log_that_was_written_anew_is_the_same(api: Api) -> None:
    issued(6)
    before = checkpoint(api)
    rewrite(lambda log: log)
    issued(3)

    require_growth(api, before, checkpoint(api))


def test_a_log_that_was_wound_back_is_found_by_whoever_has_a_checkpoint(api: Api) -> None:
    issued(6)
    before = checkpoint(api)
    rewrite(lambda log: log[:4])

    assert checkpoint(api).size == 4
    assert api.get(f"/v1/receipts/consistency?from=4&to={before.size}").error == "INVALID_RANGE"
    issued(2)
    forked = checkpoint(api)
    assert (forked.size, forked.root == before.root) == (6, False)


@pytest.mark.parametrize(
    "path", ["/v1/receipts/checkpoint", "/v1/receipts/consistency?from=0&to=0", f"/v1/receipts/{NOBODYS_ID}/inclusion"]
)
def test_calls_are_limited_by_address(api: Api, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("RATE_LIMIT_USER", "1")
    forget_process_state()

    first, second, elsewhere = (caller.get(path).status for caller in (api, api, api.from_("192.0.2.7")))

    assert second == 429
    assert first == elsewhere != 429
