"""Bitcoin buys AITBC: what is asked for, and what is credited for what the chain says."""

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api import Api, let_pass
from tests.exchange import Exchange, configure_exchange, open_exchange
from tests.integration.logins import BOB, logged_in
from tests.money import balance, broken_laws, statement

CREATE = "/v1/exchange/create-payment"
# The same, as other wallets write it.
VPUB = "vpub5Y6cjg78GGuNLsaPhmYsiw4gYX3HoQiRBiSwDaBXKUafCt9bNwWQiitDk5VZ5BVxYnQdwoTyXSs2JHRPAgjAvtbBrf8ZhDYe2jWAqvZVnsc"
FIRST_OF_XPUB = "bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk"
ONE_ADDRESS = "bcrt1q6rhpng9evdsfnn833a4f4vej0asu6dk5srld6x"


@pytest.fixture
def exchange(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exchange]:
    chain = open_exchange(monkeypatch)
    yield Exchange(logged_in(api), chain)
    assert broken_laws() == {}


@pytest.fixture
def shared(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exchange]:
    """An exchange with one address for everybody."""
    chain = open_exchange(monkeypatch, BITCOIN_XPUB="", BITCOIN_ADDRESS=ONE_ADDRESS)
    yield Exchange(logged_in(api), chain)
    assert broken_laws() == {}


def summary(payment: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(payment[name] for name in ("status", "flags", "confirmations", "received_sat", "credited_aitbc"))


def purchases(exchange: Exchange, payment: dict[str, Any]) -> list[tuple[str, str]]:
    return statement(exchange.user, payment["user_id"])


# What is asked for.


def test_a_new_payment_says_what_to_pay_where(exchange: Exchange) -> None:
    payment = exchange.create(aitbc_amount="12.5")

    assert payment["amount_sat"] == 12_500
    assert (payment["aitbc_amount"], payment["btc_amount"]) == ("12.5", "0.000125")
    assert payment["address"].startswith("bcrt1q")
    assert payment["uri"] == f"bitcoin:{payment['address']}?amount=0.000125"
    assert summary(payment) == ("pending", [], 0, 0, "0")
    assert (payment["confirmations_required"], payment["transactions"], payment["confirmed_at"]) == (2, [], None)
    assert exchange.user.get(f"/v1/exchange/payment-status/{payment['payment_id']}").json == payment


@pytest.mark.parametrize(
    ("body", "amounts"),
    [
        ({"btc_amount": "0.5"}, ("50000", "0.5")),
        ({"aitbc_amount": "1", "btc_amount": "0.00001"}, ("1", "0.00001")),
        # No whole number of satoshis: the next one.
        ({"aitbc_amount": "1.00000001"}, ("1.00000001", "0.00001001")),
        ({"aitbc_amount": "2100000"}, ("2100000", "21")),
    ],
)
def test_either_amount_or_both_may_be_named(exchange: Exchange, body: dict[str, str], amounts: tuple[str, str]) -> None:
    payment = exchange.create(**body)

    assert (payment["aitbc_amount"], payment["btc_amount"]) == amounts


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, (422, "VALIDATION_ERROR")),
        ({"aitbc_amount": 5}, (422, "VALIDATION_ERROR")),
        ({"btc_amount": "0.000000001"}, (422, "VALIDATION_ERROR")),
        ({"aitbc_amount": "-1"}, (422, "VALIDATION_ERROR")),
        ({"aitbc_amount": "0.99"}, (400, "AMOUNT_OUT_OF_RANGE")),
        ({"aitbc_amount": "0"}, (400, "AMOUNT_OUT_OF_RANGE")),
        ({"btc_amount": "21.00000001"}, (400, "AMOUNT_OUT_OF_RANGE")),
        ({"aitbc_amount": "1", "btc_amount": "0.00002"}, (400, "AMOUNT_MISMATCH")),
    ],
)
def test_amounts_that_can_not_be_bought(exchange: Exchange, body: dict[str, Any], error: tuple[int, str]) -> None:
    answer = exchange.user.post(CREATE, body)

    assert (answer.status, answer.error) == error


def test_each_payment_has_an_address_of_its_own(exchange: Exchange) -> None:
    assert len({exchange.create()["address"] for _ in range(10)}) == 10


def test_an_account_that_is_written_otherwise_gives_no_address_twice(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = exchange.create()
    configure_exchange(monkeypatch, BITCOIN_XPUB=VPUB)

    assert exchange.create()["address"] != first["address"]


def test_an_account_does_not_give_out_what_was_the_address_of_all(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    configure_exchange(monkeypatch, BITCOIN_XPUB="", BITCOIN_ADDRESS=FIRST_OF_XPUB)
    user = logged_in(api)
    shared = Exchange(user, None).create()
    configure_exchange(monkeypatch)

    assert shared["address"] == FIRST_OF_XPUB
    assert Exchange(user, None).create()["address"] != FIRST_OF_XPUB


@pytest.mark.parametrize(("days_before", "status"), [(2, "pending"), (0.5, "confirmed")])
def test_what_an_account_got_before_anybody_was_told_to_pay_is_nobodys(
    exchange: Exchange, days_before: float, status: str
) -> None:
    exchange.chain.pay((FIRST_OF_XPUB, 10_000))
    # No clock of a block is trusted to the day.
    exchange.chain.mine(6, seconds=int(time.time() - days_before * 86_400))
    first = exchange.create()
    exchange.check()

    assert first["address"] == FIRST_OF_XPUB
    assert exchange.payment(first)["status"] == status


def test_ten_payments_may_be_open(exchange: Exchange, api: Api) -> None:
    for _ in range(10):
        exchange.create()
    refused = exchange.user.post(CREATE, {"aitbc_amount": "10"})
    other = logged_in(api, BOB).post(CREATE, {"aitbc_amount": "10"})
    exchange.pass_time(3600)

    assert (refused.status, refused.error) == (409, "TOO_MANY_PAYMENTS")
    assert other.status == 201
    assert exchange.create()["status"] == "pending"


def test_repeated_with_a_key_it_is_the_same_payment(exchange: Exchange) -> None:
    headers = {"idempotency-key": "one"}
    first, again = (exchange.user.post(CREATE, {"aitbc_amount": "10"}, headers=headers) for _ in range(2))

    assert first.json == again.json
    assert again.headers["idempotency-replayed"] == "true"
    assert len(exchange.user.get("/v1/exchange/payments").json["items"]) == 1


def test_without_addresses_nobody_can_pay(api: Api) -> None:
    answer = logged_in(api).post(CREATE, {"aitbc_amount": "10"})

    assert (answer.status, answer.error) == (503, "EXCHANGE_DISABLED")


def test_another_users_payment_does_not_exist(exchange: Exchange, api: Api) -> None:
    payment = exchange.create()
    bob = logged_in(api, BOB)
    paths = f"payment-status/{payment['payment_id']}", f"payments/{payment['payment_id']}/qr.svg"
    answers = [bob.get(f"/v1/exchange/{path}") for path in paths]

    assert {(answer.status, answer.error) for answer in answers} == {(404, "PAYMENT_NOT_FOUND")}
    assert bob.get("/v1/exchange/payments").json["items"] == []
    assert exchange.user.get("/v1/exchange/payment-status/none").error == "PAYMENT_NOT_FOUND"


def test_anyone_may_know_the_rate(api: Api) -> None:
    assert api.get("/v1/exchange/rates").json == {"btc_to_aitbc": "100000", "aitbc_to_btc": "0.00001"}


def test_the_qr_code_is_a_picture(exchange: Exchange) -> None:
    import base64

    payment = exchange.create()
    answer = exchange.user.get(f"/v1/exchange/payments/{payment['payment_id']}/qr.svg")

    assert (answer.status, answer.headers["content-type"]) == (200, "image/svg+xml")
    picture = answer.text if answer.text.startswith("<") else base64.b64decode(answer.text).decode()
    assert re.match(r"<svg [^>]*xmlns=\"http://www.w3.org/2000/svg\"", picture)


# What is credited.


def test_a_payment_is_credited_once_it_has_its_confirmations(exchange: Exchange) -> None:
    payment = exchange.create()
    seen = []
    txid = exchange.chain.pay((payment["address"], 10_000))
    exchange.check()
    seen.append(summary(exchange.payment(payment)))
    for _ in range(3):
        exchange.mine()
        seen.append(summary(exchange.payment(payment)))

    assert seen == [
        ("processing", [], 0, 10_000, "0"),
        ("processing", [], 1, 10_000, "0"),
        ("confirmed", [], 2, 10_000, "10"),
        ("confirmed", [], 3, 10_000, "10"),
    ]
    assert exchange.payment(payment)["transactions"] == [
        {"txid": txid, "vout": 0, "amount_sat": 10_000, "block_height": 11}
    ]
    assert exchange.payment(payment)["confirmed_at"] is not None
    assert balance(exchange.user, payment["user_id"]) == ("10", "0")
    assert purchases(exchange, payment) == [("purchase", "10")]


def test_the_rest_may_come_later(exchange: Exchange) -> None:
    payment = exchange.create()
    exchange.chain.pay((payment["address"], 4_000))
    exchange.mine(2)
    part = summary(exchange.payment(payment))
    exchange.chain.pay((payment["address"], 6_000))
    exchange.check()
    coming = summary(exchange.payment(payment))
    exchange.mine(2)

    assert part == ("confirmed", ["underpaid"], 2, 4_000, "4")
    assert coming == ("processing", [], 0, 10_000, "4")
    assert summary(exchange.payment(payment)) == ("confirmed", [], 2, 10_000, "10")


def test_several_outputs_of_one_transaction_count_each(exchange: Exchange) -> None:
    payment, other = exchange.create(), exchange.create()
    exchange.chain.pay((payment["address"], 3_000), (other["address"], 10_000), (payment["address"], 7_000))
    exchange.mine(2)

    assert summary(exchange.payment(payment)) == ("confirmed", [], 2, 10_000, "10")
    assert summary(exchange.payment(other)) == ("confirmed", [], 2, 10_000, "10")


def test_what_is_above_the_amount_or_late_goes_by_the_rate_of_the_day(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coordinator.core.config import settings

    over, late = exchange.create(), exchange.create()
    monkeypatch.setenv("BTC_TO_AITBC_RATE", "50000")
    settings.cache_clear()
    exchange.chain.pay((over["address"], 14_000))
    exchange.mine(2)
    exchange.pass_time(3600)
    exchange.check()
    expired = summary(exchange.payment(late))
    exchange.chain.pay((late["address"], 10_000))
    exchange.mine(2)

    assert summary(exchange.payment(over)) == ("confirmed", ["overpaid"], 2 + 2, 14_000, "12")
    assert expired == ("expired", [], 0, 0, "0")
    assert summary(exchange.payment(late)) == ("confirmed", ["late"], 2, 10_000, "5")


def test_what_came_in_time_is_not_late_because_the_chain_could_not_be_read(exchange: Exchange) -> None:
    payment = exchange.create()
    exchange.check()
    exchange.chain.pay((payment["address"], 10_000))
    exchange.chain.unavailable = True
    exchange.check()
    exchange.pass_time(7200)
    exchange.check()
    unread = summary(exchange.payment(payment))
    exchange.chain.unavailable = False
    exchange.mine(2)

    assert unread == ("expired", [], 0, 0, "0")
    assert summary(exchange.payment(payment)) == ("confirmed", [], 2, 10_000, "10")


def test_a_payment_that_was_replaced_before_it_was_confirmed_is_forgotten(exchange: Exchange) -> None:
    payment = exchange.create()
    replaced = exchange.chain.pay((payment["address"], 9_000))
    exchange.check()
    exchange.chain.drop(replaced)
    exchange.check()
    gone = summary(exchange.payment(payment))
    exchange.chain.pay((payment["address"], 10_000))
    exchange.mine(2)

    assert gone == ("pending", [], 0, 0, "0")
    assert summary(exchange.payment(payment)) == ("confirmed", [], 2, 10_000, "10")


# What the chain undoes.


def test_a_reorganization_before_the_credit_changes_the_block_alone(exchange: Exchange) -> None:
    payment = exchange.create()
    exchange.chain.pay((payment["address"], 10_000))
    exchange.mine()
    exchange.chain.reorg(1)
    exchange.check()
    undone = summary(exchange.payment(payment))
    exchange.mine(2)

    assert undone == ("processing", [], 0, 10_000, "0")
    assert summary(exchange.payment(payment)) == ("confirmed", [], 2, 10_000, "10")
    assert purchases(exchange, payment) == [("purchase", "10")]


def test_what_was_credited_is_taken_back_with_the_block_and_credited_again(exchange: Exchange) -> None:
    payment = exchange.create()
    exchange.chain.pay((payment["address"], 10_000))
    exchange.mine(2)
    exchange.chain.reorg(2)
    exchange.check()
    undone = summary(exchange.payment(payment))
    exchange.mine(2)

    assert undone == ("processing", ["reversed"], 0, 10_000, "0")
    assert summary(exchange.payment(payment)) == ("confirmed", ["reversed"], 2, 10_000, "10")
    assert purchases(exchange, payment) == [("purchase", "10"), ("reversal", "-10"), ("purchase", "10")]


def test_what_is_confirmed_in_another_block_by_the_next_look_was_credited_once(exchange: Exchange) -> None:
    payment = exchange.create()
    exchange.chain.pay((payment["address"], 10_000))
    exchange.mine(2)
    exchange.chain.reorg(2)
    exchange.mine(2)

    assert summary(exchange.payment(payment)) == ("confirmed", [], 2, 10_000, "10")
    assert purchases(exchange, payment) == [("purchase", "10")]


def test_a_double_spend_takes_back_what_is_spent_already(exchange: Exchange, client: Api) -> None:
    payment = exchange.create()
    txid = exchange.chain.pay((payment["address"], 10_000))
    exchange.mine(2)
    key = exchange.user.post("/v1/users/me/api-keys", {"role": "client", "name": "k"}).json["api_key"]
    buyer = client.as_(key)
    buyer.submit(max_price="8")
    exchange.chain.reorg(2, without=[txid])
    exchange.check()
    refused = buyer.post("/v1/client/jobs", {"job_type": "llm_inference", "max_price": "0.1"})

    assert summary(exchange.payment(payment)) == ("pending", ["reversed"], 0, 0, "0")
    assert balance(exchange.user, payment["user_id"]) == ("-8", "8")
    assert (refused.status, refused.error) == (402, "INSUFFICIENT_FUNDS")

    exchange.chain.pay((payment["address"], 10_000))
    exchange.mine(2)

    assert balance(exchange.user, payment["user_id"]) == ("2", "8")


def test_silence_of_a_server_takes_nothing_back(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    payment = exchange.create()
    exchange.chain.pay((payment["address"], 10_000))
    exchange.mine(2)
    monkeypatch.setattr(exchange.chain, "outputs", lambda *_: [])
    exchange.mine(2)

    assert summary(exchange.payment(payment))[-1] == "10"


def test_a_server_that_lags_behind_takes_nothing_back(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    from coordinator.payments import check
    from coordinator.payments.memory import MemoryChain

    payment = exchange.create()
    exchange.chain.pay((payment["address"], 10_000))
    exchange.mine(2)
    exchange.mine(3)
    behind = MemoryChain()
    behind.mine(12)
    monkeypatch.setattr(check, "chain", lambda: behind)
    exchange.check()

    assert summary(exchange.payment(payment))[-1] == "10"
    assert purchases(exchange, payment) == [("purchase", "10")]


# When the chain is asked.


def test_a_chain_that_can_not_be_read_changes_nothing_and_is_told(
    exchange: Exchange, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    payment = exchange.create()
    exchange.chain.pay((payment["address"], 10_000))
    exchange.chain.unavailable = True
    checked = exchange.check()
    status = exchange.user.get(f"/v1/exchange/payment-status/{payment['payment_id']}")
    exchange.chain.unavailable = False

    assert checked == {"payments": 0, "failed": True}
    assert (status.status, status.json["status"]) == (200, "pending")
    assert "the chain can't be read" in caplog.text
    exchange.mine(2)
    assert "\nchain_failures_total 2\n" in api.get("/metrics").text
    assert summary(exchange.payment(payment))[-1] == "10"


def test_addresses_that_can_not_be_read_keep_no_other_from_being_read(
    exchange: Exchange, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coordinator.payments.chain import ChainUnavailable

    unreadable = {exchange.create()["address"] for _ in range(9)}
    other = Exchange(logged_in(api, BOB), exchange.chain)
    payment = other.create()
    outputs = exchange.chain.outputs

    def read(address: str, *since: int) -> Any:
        if address in unreadable:
            raise ChainUnavailable("its answer is too long")
        return outputs(address, *since)

    monkeypatch.setattr(exchange.chain, "outputs", read)
    monkeypatch.setattr("coordinator.payments.check._REST_SECONDS", 0)
    exchange.chain.pay((payment["address"], 10_000))
    exchange.chain.mine(2)

    assert exchange.check() == {"payments": 1, "failed": True}
    assert other.payment(payment)["status"] == "confirmed"


def test_who_asks_for_a_payment_gets_a_fresh_reading_every_ten_seconds(exchange: Exchange) -> None:
    payment = exchange.create()
    path = f"/v1/exchange/payment-status/{payment['payment_id']}"
    first = exchange.user.get(path).json
    exchange.chain.pay((payment["address"], 10_000))
    too_soon = exchange.user.get(path).json
    exchange.pass_time(10)
    later = exchange.user.get(path).json

    assert [answer["status"] for answer in (first, too_soon, later)] == ["pending", "pending", "processing"]


def test_a_chain_that_moves_while_it_is_read_is_read_again(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    payment = exchange.create()
    exchange.chain.pay((payment["address"], 10_000))
    outputs = exchange.chain.outputs

    def move(*args: Any) -> Any:
        exchange.chain.mine()
        return outputs(*args)

    with monkeypatch.context() as patched:
        patched.setattr(exchange.chain, "outputs", move)
        moved = exchange.check()
    exchange.check()

    assert moved["failed"]
    assert exchange.payment(payment)["status"] == "processing"


def test_payments_are_watched_until_they_can_not_change_any_more(exchange: Exchange) -> None:
    paid, unpaid = exchange.create(), exchange.create()
    exchange.chain.pay((paid["address"], 10_000))
    exchange.mine(6)
    exchange.pass_time(3600 + 86400)
    first = exchange.check()["payments"]
    second = exchange.check()["payments"]
    exchange.mine()
    third = exchange.check()["payments"]

    # The paid one has six confirmations; the seventh puts six blocks on top.
    assert (first, second, third) == (2, 1, 0)
    assert exchange.payment(unpaid)["status"] == "expired"


def test_what_was_taken_back_is_watched_on_though_the_time_for_it_is_over(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = exchange.create()
    exchange.chain.pay((payment["address"], 10_000))
    exchange.mine(2)
    exchange.pass_time(3600 + 86400)
    exchange.chain.reorg(2)
    with monkeypatch.context() as patched:
        # Not every server has in its mempool what was undone.
        patched.setattr(exchange.chain, "outputs", lambda *_: [])
        exchange.check()
        gone = summary(exchange.payment(payment))
        exchange.check()
    exchange.mine(2)

    assert gone == ("expired", ["reversed"], 0, 0, "0")
    assert summary(exchange.payment(payment)) == ("confirmed", ["reversed"], 2, 10_000, "10")


def test_an_old_reading_is_not_taken_down_after_a_new_one(exchange: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    from coordinator.payments import check

    payment = exchange.create()
    take_down, overtaken = check._take_down, []

    def be_overtaken(*args: Any) -> None:
        if not overtaken:
            overtaken.append(args)
            exchange.chain.pay((payment["address"], 10_000))
            exchange.mine(2)
        take_down(*args)

    monkeypatch.setattr(check, "_take_down", be_overtaken)
    exchange.check()

    assert overtaken
    assert summary(exchange.payment(payment)) == ("confirmed", [], 2, 10_000, "10")
    assert purchases(exchange, payment) == [("purchase", "10")]


def test_operators_see_all_payments(exchange: Exchange, api: Api, admin: Api) -> None:
    mine = exchange.create()
    theirs = Exchange(logged_in(api, BOB), exchange.chain).create()
    exchange.chain.pay((mine["address"], 10_000))
    exchange.mine(2)

    def ids(query: str) -> list[str]:
        return [item["payment_id"] for item in admin.get(f"/v1/admin/payments{query}").json["items"]]

    assert ids("") == [theirs["payment_id"], mine["payment_id"]]
    assert ids("?status=confirmed") == [mine["payment_id"]]
    assert ids(f"?user_id={theirs['user_id']}") == [theirs["payment_id"]]
    assert admin.get("/v1/admin/stats").json["payments"] == 2
    metrics = api.get("/metrics").text
    assert '\npayments{status="confirmed"} 1\npayments{status="expired"} 0\npayments{status="pending"} 1\n' in metrics
    assert "\nchain_height 12\n" in metrics


def test_operators_find_payments_by_the_status_that_they_are_shown(exchange: Exchange, admin: Api) -> None:
    payment = exchange.create()
    let_pass(3601)

    found = {
        status: [item["status"] for item in admin.get(f"/v1/admin/payments?status={status}").json["items"]]
        for status in ("pending", "expired")
    }

    assert found == {"pending": [], "expired": ["expired"]}
    assert exchange.payment(payment)["status"] == "expired"


# One address for all.


def test_amounts_tell_payments_to_one_address_apart(shared: Exchange) -> None:
    first, second = shared.create(), shared.create()
    shared.chain.pay((ONE_ADDRESS, second["amount_sat"]))
    shared.mine(2)

    assert first["address"] == second["address"] == ONE_ADDRESS
    assert first["amount_sat"] != second["amount_sat"]
    assert 10_000 < first["amount_sat"] <= 10_100
    assert shared.payment(first)["status"] == "pending"
    assert summary(shared.payment(second))[:2] == ("confirmed", [])
    assert shared.payment(second)["credited_aitbc"] == f"{second['amount_sat'] / 1000:g}"


def test_what_had_come_to_the_address_before_is_nobodys(shared: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.randbelow", lambda _: 41)
    shared.chain.pay((ONE_ADDRESS, 10_042))
    shared.mine(2)
    payment = shared.create()
    shared.check()
    before = shared.payment(payment)["status"]
    shared.chain.pay((ONE_ADDRESS, 10_041))
    shared.mine(2)
    stranger = shared.payment(payment)["status"]
    shared.chain.pay((ONE_ADDRESS, 10_042))
    shared.mine(2)

    assert payment["amount_sat"] == 10_042
    assert (before, stranger) == ("pending", "pending")
    assert summary(shared.payment(payment))[:2] == ("confirmed", [])


def test_what_has_just_come_to_the_address_is_nobodys(shared: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.randbelow", lambda _: 41)
    shared.create()
    shared.chain.pay((ONE_ADDRESS, 20_042))
    payment = shared.create(aitbc_amount="20")
    shared.mine(2)

    assert payment["amount_sat"] == 20_042
    assert shared.payment(payment)["status"] == "pending"


def test_an_amount_is_free_again_when_its_payment_is_no_longer_watched(
    shared: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordinator.payments.service._ADDED_SAT", (1,))
    first = shared.create()
    refused = shared.user.post(CREATE, {"aitbc_amount": "10"})
    shared.pass_time(3600 + 86400)
    shared.check()
    again = shared.create()
    shared.chain.pay((ONE_ADDRESS, again["amount_sat"]))
    shared.mine(2)

    assert (refused.status, refused.error) == (409, "TOO_MANY_PAYMENTS")
    assert again["amount_sat"] == first["amount_sat"]
    assert shared.payment(first)["status"] == "expired"
    assert shared.payment(again)["status"] == "confirmed"


def test_an_address_that_can_not_be_read_takes_no_payments(shared: Exchange) -> None:
    shared.chain.unavailable = True
    answer = shared.user.post(CREATE, {"aitbc_amount": "10"})
    shared.chain.unavailable = False

    assert (answer.status, answer.error, answer.headers["retry-after"]) == (503, "EXCHANGE_UNAVAILABLE", "10")
    assert shared.create()["status"] == "pending"


def test_outputs_deep_in_the_chain_stay_credited_though_they_are_not_read_again(shared: Exchange) -> None:
    payment = shared.create()
    shared.chain.pay((ONE_ADDRESS, payment["amount_sat"]))
    for _ in range(12):
        shared.mine()

    assert summary(shared.payment(payment))[0] == "confirmed"


def test_a_block_that_others_have_read_is_read_for_what_was_seen_before_it(shared: Exchange, api: Api) -> None:
    payment, other = shared.create(), Exchange(logged_in(api, BOB), shared.chain).create()
    shared.chain.pay((ONE_ADDRESS, payment["amount_sat"]))
    shared.check()
    # So many that nobody reads what is below them once more.
    shared.chain.mine(9)
    logged_in(api, BOB).get(f"/v1/exchange/payment-status/{other['payment_id']}")
    shared.check()

    assert summary(shared.payment(payment))[:3] == ("confirmed", [], 9)
