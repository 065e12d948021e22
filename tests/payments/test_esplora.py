"""The chain over HTTP, from servers that work, fail, are slow, and lie."""

import json
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from coordinator.payments import server
from coordinator.payments.chain import ChainUnavailable, Output, Tip, chain
from coordinator.payments.esplora import EsploraChain
from coordinator.payments.server import Limits
from tests.api import SECRET_KEY, forget_process_state
from tests.payments.esplora import OTHER, FakeEsplora, Reply, txout

MINE = "bcrt1qqyqszqgpqyqszqgpqyqszqgpqyqszqgpvxat9t"
TAPROOT = "bcrt1pqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs7r922v"
HASH = "ab" * 32

Serve = Callable[..., FakeEsplora]
Change = Callable[[str, Reply], Reply]


@pytest.fixture
def serve() -> Iterator[Serve]:
    started: list[FakeEsplora] = []

    def start(tls: ssl.SSLContext | None = None) -> FakeEsplora:
        started.append(FakeEsplora(tls))
        return started[-1]

    yield start
    for fake in started:
        fake.stop()


@pytest.fixture
def fake(serve: Serve) -> FakeEsplora:
    return serve()


@pytest.fixture
def asked(fake: FakeEsplora) -> EsploraChain:
    return EsploraChain([fake.url], "regtest")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the time is for servers: its one item."""
    now = [1000.0]
    monkeypatch.setattr(server, "monotonic", lambda: now[0])
    return now


def only(part: str, reply: Reply) -> Change:
    """Another reply to paths that have this part."""
    return lambda path, usual: reply if part in path else usual


def told(transactions: list[dict[str, Any]]) -> Change:
    return only("/txs", Reply(body=json.dumps(transactions).encode()))


def transaction(*outs: dict[str, Any], spent: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    return {
        "txid": HASH,
        "vin": [{"prevout": spent or txout(OTHER, 7)}],
        "vout": list(outs),
        "status": {"confirmed": False, **status},
    }


@pytest.mark.parametrize("address", [MINE, TAPROOT])
def test_what_pays_an_address_is_told_in_the_mempool_and_in_blocks(
    fake: FakeEsplora, asked: EsploraChain, address: str
) -> None:
    old = fake.chain.pay((address, 1000), (OTHER, 5), (address, 7))
    (mined,) = fake.chain.mine(seconds=1_700_000_000)
    new = fake.chain.pay((OTHER, 9), (address, 8))

    assert {output.txid: output.block_seconds for output in asked.outputs(address)} == {old: 1_700_000_000, new: None}
    assert set(asked.outputs(address)) == {
        Output(old, 0, 1000, 1, mined),
        Output(old, 2, 7, 1, mined),
        Output(new, 1, 8, None, None),
    }
    assert asked.tip() == Tip(1, mined)
    assert asked.block_hash(1) == mined


def test_an_address_that_nobody_has_paid_has_nothing(asked: EsploraChain) -> None:
    assert asked.outputs(MINE) == []


def test_there_is_no_block_above_the_tip_nor_below_the_first(asked: EsploraChain) -> None:
    assert [asked.block_hash(height) for height in (1, 2_000_000, -1)] == [None, None, None]


@pytest.mark.parametrize("confirmed_per_page", [10, 25, 50])
def test_all_pages_are_read(fake: FakeEsplora, asked: EsploraChain, confirmed_per_page: int) -> None:
    fake.confirmed_per_page = confirmed_per_page
    paid = set()
    for _ in range(60):
        paid.add(fake.chain.pay((MINE, 1000)))
        fake.chain.mine()
    in_mempool = {fake.chain.pay((MINE, 1000)) for _ in range(5)}

    assert {output.txid for output in asked.outputs(MINE)} == paid | in_mempool


def test_pages_below_a_height_are_left_out(fake: FakeEsplora, asked: EsploraChain) -> None:
    for _ in range(80):
        fake.chain.pay((MINE, 1000))
        fake.chain.mine()

    found = asked.outputs(MINE, since_height=70)

    assert {output.block_height for output in found} >= set(range(70, 81))
    assert len(found) < 80


def test_of_the_mempool_as_much_is_told_as_there_is(fake: FakeEsplora, asked: EsploraChain) -> None:
    for _ in range(60):
        fake.chain.pay((MINE, 1000))

    assert len(asked.outputs(MINE)) == 50
    fake.chain.mine()
    assert len(asked.outputs(MINE)) == 60


def test_pages_that_never_end_are_not_followed(fake: FakeEsplora, asked: EsploraChain) -> None:
    served = 0

    def endless(path: str, usual: Reply) -> Reply:
        nonlocal served
        if "/txs" not in path:
            return usual
        served += 1
        one = transaction(txout(MINE, 1), confirmed=True, block_height=1, block_hash=HASH)
        return Reply(body=json.dumps([{**one, "txid": f"{served:064x}"}]).encode())

    fake.change = endless

    with pytest.raises(ChainUnavailable, match="more than 400 pages"):
        asked.outputs(MINE)


def test_what_is_read_while_blocks_come_is_read_again(fake: FakeEsplora, asked: EsploraChain) -> None:
    txid = fake.chain.pay((MINE, 1000))
    fake.chain.mine()
    asked.tip()
    readings = 0

    def reorganized(path: str, usual: Reply) -> Reply:
        # The transaction has left its block, and is not in the mempool of this answer, which was made before.
        nonlocal readings
        if "/txs" in path:
            readings += 1
            if readings == 1:
                fake.chain.reorg(1)
                return Reply(body=b"[]")
        return usual

    fake.change = reorganized

    assert asked.outputs(MINE) == [Output(txid, 0, 1000, None, None)]


def test_a_chain_that_never_stands_still_is_not_believed(fake: FakeEsplora, asked: EsploraChain) -> None:
    def mine_on(path: str, usual: Reply) -> Reply:
        if "/txs" in path:
            fake.chain.mine()
        return usual

    fake.change = mine_on

    with pytest.raises(ChainUnavailable, match="new blocks all the time"):
        asked.outputs(MINE)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (only("/txs", Reply(body=b"<!DOCTYPE html><title>Maintenance</title>")), "DOCTYPE"),
        (only("/txs", Reply(body=b'[{"txid": "ab')), "not what it should be"),
        (only("/txs", Reply(body=b'[{"txid": "' + b"ab" * 500, cut_after=40)), "breaks off"),
        (only("/txs", Reply(body=b"[]", headers={"content-length": "9999"}, cut_after=2)), "breaks off"),
        (only("/txs", Reply(body=b"{}")), "not what it should be"),
        (only("/txs", Reply(body=b"null")), "not what it should be"),
        (only("/txs", Reply(body=b"\xff\xfe")), "not what it should be"),
        (only("/txs", Reply(body=b"[" * 100_000)), "not what it should be"),
        (only("/txs", Reply(500, b"[]")), "it answered 500"),
        (only("/txs", Reply(429, b"[]")), "it answered 429"),
        (only("/txs", Reply(404, b"[]")), "it answered 404"),
        (only("/txs", Reply(204)), "it answered 204"),
        (only("/txs", Reply(301, headers={"location": "https://elsewhere.example/"})), "it answered 301"),
        (only("tip/hash", Reply(body=b"<html>")), "not what it should be"),
        (only("tip/hash", Reply(body=b"AB" * 32)), "not what it should be"),
        (only("/block/", Reply(body=b'{"id": "%s", "height": 3}' % HASH.encode())), "told of another"),
        (only("/block/", Reply(body=b'{"id": "%s", "height": "3"}' % HASH.encode())), "not what it should be"),
        (only("/block/", Reply(404)), "has not the block that it calls its last"),
        (only("height/0", Reply(404)), "it answered 404"),
        (only("height/0", Reply(body=b"000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f")), "another"),
        (told([transaction(txout(MINE, 5) | {"value": 5.0})]), "not what it should be"),
        (told([transaction(txout(MINE, 5) | {"value": "5"})]), "not what it should be"),
        (told([transaction(txout(MINE, 5) | {"value": True})]), "not what it should be"),
        (told([transaction(txout(MINE, -5))]), "not what it should be"),
        (told([transaction(txout(MINE, 21_000_000 * 10**8 + 1))]), "not what it should be"),
        (told([transaction(txout(MINE, 5)) | {"txid": "ab"}]), "not what it should be"),
        (told([transaction(txout(MINE, 5), confirmed=True)]), "does not tell which block"),
        (told([transaction(txout(MINE, 5), confirmed=True, block_height=1)]), "does not tell which block"),
        (told([transaction(txout(MINE, 5), block_height=1, block_hash=HASH)]), "does not tell which block"),
        # The money of others.
        (told([transaction(txout(OTHER, 5))]), "neither pays"),
        (told([transaction(txout(OTHER, 5) | {"scriptpubkey_address": MINE})]), "pays another address"),
        (told([transaction(txout(MINE, 5) | {"scriptpubkey_address": OTHER})]), "pays another address"),
        (told([transaction({"scriptpubkey": txout(MINE, 5)["scriptpubkey"], "value": 5})]), "pays another address"),
    ],
)
def test_what_is_no_answer_is_not_taken_for_one(
    fake: FakeEsplora, asked: EsploraChain, change: Change, why: str
) -> None:
    fake.chain.pay((MINE, 1000))
    fake.change = change

    with pytest.raises(ChainUnavailable, match=why):
        asked.outputs(MINE)


def test_amounts_of_others_in_the_same_transaction_are_not_taken(fake: FakeEsplora, asked: EsploraChain) -> None:
    data = {"scriptpubkey": "6a0161", "scriptpubkey_type": "op_return", "value": 0}
    fake.change = told([transaction(txout(OTHER, 10**8), data, txout(MINE, 5), txout(TAPROOT, 10**8))])

    assert asked.outputs(MINE) == [Output(HASH, 2, 5, None, None)]


def test_what_an_address_spends_pays_it_nothing(fake: FakeEsplora, asked: EsploraChain) -> None:
    fake.change = told([transaction(txout(OTHER, 5), spent=txout(MINE, 6))])

    assert asked.outputs(MINE) == []


def test_a_missing_block_below_the_tip_is_a_failure_of_the_server(fake: FakeEsplora, asked: EsploraChain) -> None:
    fake.chain.mine(3)
    fake.change = only("height/2", Reply(404, b"<html>not found</html>"))

    with pytest.raises(ChainUnavailable, match="has no block 2, which is below its last"):
        asked.block_hash(2)


@pytest.mark.parametrize(
    "slow",
    [Reply(body=b"[]", silent_seconds=1), Reply(body=b" " * 200 + b"[]", drip_seconds=0.05)],
    ids=["silent", "dripping"],
)
def test_slow_answers_are_not_waited_for(fake: FakeEsplora, slow: Reply) -> None:
    fake.change = only("/txs", slow)
    impatient = EsploraChain([fake.url], "regtest", Limits(read_seconds=0.5, total_seconds=1))

    with pytest.raises(ChainUnavailable, match=r"TimeoutError|timed out|takes too long"):
        impatient.outputs(MINE)


def test_answers_without_an_end_are_not_read(fake: FakeEsplora) -> None:
    fake.change = only("/txs", Reply(body=b"[" + b" " * 100_000 + b"]"))
    careful = EsploraChain([fake.url], "regtest", Limits(body_bytes=100_000))

    with pytest.raises(ChainUnavailable, match="longer than 100000 bytes"):
        careful.outputs(MINE)


def test_the_next_server_is_asked_when_one_fails(serve: Serve) -> None:
    dead, broken, foreign, good = (serve() for _ in range(4))
    dead.stop_listening()
    broken.change = lambda _, usual: Reply(502, b"<html>")
    foreign.change = only("height/0", Reply(body=HASH.encode()))
    txid = good.chain.pay((MINE, 1000))

    asked = EsploraChain([one.url for one in (dead, broken, foreign, good)], "regtest")

    assert asked.outputs(MINE) == [Output(txid, 0, 1000, None, None)]
    assert foreign.asked == ["/api/block-height/0"]


def test_no_server_is_asked_that_is_not_needed(serve: Serve) -> None:
    first, second = serve(), serve()
    asked = EsploraChain([first.url, second.url], "regtest")

    asked.outputs(MINE)
    asked.tip()

    assert second.asked == []


def test_connections_are_kept_and_opened_anew_when_the_server_has_closed_them(
    fake: FakeEsplora, asked: EsploraChain
) -> None:
    for _ in range(3):
        asked.tip()
    kept = fake.connections
    fake.change = lambda _, usual: Reply(usual.status, usual.body, cut_after=len(usual.body))
    for _ in range(3):
        asked.tip()

    assert (kept, fake.connections) == (1, 3)


def test_a_connection_that_nobody_has_used_for_long_is_not_used(
    fake: FakeEsplora, asked: EsploraChain, clock: list[float]
) -> None:
    asked.tip()
    clock[0] += 11
    asked.tip()

    assert fake.connections == 2


def test_a_server_that_fails_is_left_alone_longer_each_time(
    fake: FakeEsplora, asked: EsploraChain, clock: list[float]
) -> None:
    fake.change = lambda *_: Reply(503)
    asked_at = []
    for _ in range(200):
        before = len(fake.asked)
        with pytest.raises(ChainUnavailable, match="it answered 503"):
            asked.tip()
        if len(fake.asked) > before:
            asked_at.append(clock[0] - 1000)
        clock[0] += 1

    assert asked_at == [0, 2, 6, 14, 30, 62, 122, 182]


def test_a_server_that_answers_again_is_asked_again(serve: Serve, clock: list[float]) -> None:
    first, second = serve(), serve()
    asked = EsploraChain([first.url, second.url], "regtest")
    first.change = lambda *_: Reply(503)
    asked.tip()
    first.change = lambda _, usual: usual
    asked.tip()
    so_long = len(first.asked)
    clock[0] += 2

    assert so_long == 1
    assert asked.tip() == Tip(0, first.chain.tip().hash)


@pytest.mark.parametrize(("retry_after", "pause"), [("30", 30), ("86400", 60), ("soon", 2), ("-1", 2)])
def test_a_server_is_left_alone_as_long_as_it_asks_up_to_a_minute(
    fake: FakeEsplora, asked: EsploraChain, clock: list[float], retry_after: str, pause: int
) -> None:
    fake.change = lambda *_: Reply(429, headers={"retry-after": retry_after})
    with pytest.raises(ChainUnavailable):
        asked.tip()
    fake.change = lambda _, usual: usual

    clock[0] += pause - 0.1
    with pytest.raises(ChainUnavailable, match="it answered 429"):
        asked.tip()
    clock[0] += 0.1
    assert asked.tip().height == 0


def test_nobody_is_told_the_path_of_a_server(fake: FakeEsplora) -> None:
    fake.change = lambda *_: Reply(503)

    with pytest.raises(ChainUnavailable) as raised:
        EsploraChain([fake.url + "/secret-key"], "regtest").tip()

    assert "127.0.0.1" in str(raised.value)
    assert "secret-key" not in str(raised.value)


def test_a_certificate_that_nobody_trusts_is_refused(serve: Serve, tmp_path: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(self_signed(tmp_path))
    fake = serve(tls)

    with pytest.raises(ChainUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        EsploraChain([fake.url.replace("http:", "https:")], "regtest").tip()
    assert fake.asked == []


def self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def test_a_process_asks_the_configured_servers(fake: FakeEsplora, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"DATABASE_URL": "sqlite:///x", "SECRET_KEY": SECRET_KEY}
    for name, value in {**variables, "BITCOIN_NETWORK": "regtest", "ESPLORA_URLS": fake.url}.items():
        monkeypatch.setenv(name, value)
    forget_process_state()

    assert chain().tip() == fake.chain.tip()


def test_an_address_of_another_network_is_no_question(asked: EsploraChain) -> None:
    with pytest.raises(ChainUnavailable, match="no address of regtest"):
        asked.outputs("tb1q6rz28mcfaxtmd6v789l9rrlrusdprr9pqcpvkl")
