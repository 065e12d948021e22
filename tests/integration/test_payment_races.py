"""Many processes at the exchange: every payment has its own address, and every output is credited once."""

import multiprocessing
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import pytest
from sqlalchemy import text

from tests.api import SECRET_KEY, Api
from tests.bench.processes import Meet, together
from tests.exchange import VARIABLES, make_all_due, open_exchange
from tests.money import balance, broken_laws, user_of

PROCESSES = 8


@dataclass(frozen=True)
class Frozen:
    """A chain that stands still, and can be given to another process."""

    paid: dict[str, int] = field(default_factory=dict)

    def tip(self) -> object:
        from coordinator.payments.chain import Tip

        return Tip(20, _hash("20"))

    def block_hash(self, height: int) -> str | None:
        return _hash(str(height))

    def outputs(self, address: str, since_height: int = 0) -> Sequence[object]:
        from coordinator.payments.chain import Output

        if address not in self.paid:
            return []
        return [Output(_hash(address), 0, self.paid[address], 15, _hash("15"))]


def flat(lists: Sequence[list[tuple[str, str]]]) -> list[tuple[str, str]]:
    return [item for one in lists for item in one]


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def create(meet: Meet, users: Sequence[str], count: int) -> list[tuple[str, str]]:
    """Makes payments together with the other processes; user and address of each."""
    from coordinator.core.database import database
    from coordinator.payments import service
    from coordinator.payments.errors import TooManyPayments
    from coordinator.payments.schemas import PaymentCreate

    body = PaymentCreate.model_validate({"aitbc_amount": "10"})
    made = []
    meet()
    for number in range(count):
        user_id = users[number % len(users)]
        try:
            payment = database().write(lambda tx, user_id=user_id: service.create(tx, user_id, body))
        except TooManyPayments:
            continue
        made.append((payment.user_id, payment.address))
    return made


def check(meet: Meet, chain: Frozen) -> int:
    """Looks up what is due together with the other processes."""
    from coordinator.payments import check as checks

    checks.chain = lambda: chain
    meet()
    return checks.check_due().payments


def check_and_die(chain: Frozen, variables: dict[str, str], after: int) -> None:
    """The same, until one payment was read and is about to be credited."""
    os.environ.update(variables)
    from coordinator.payments import check as checks
    from coordinator.payments import crediting

    checks.chain = lambda: chain
    take_down = crediting.take_down

    def die_in_time(*args: object) -> None:
        nonlocal after
        take_down(*args)
        after -= 1
        if after < 0:
            # All is written and nothing committed.
            os.kill(os.getpid(), signal.SIGKILL)

    checks.take_down = die_in_time
    checks.check_due()


@pytest.fixture
def variables(api: Api, database_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of another process of the same exchange."""
    open_exchange(monkeypatch)
    return {"DATABASE_URL": database_url, "SECRET_KEY": SECRET_KEY, **VARIABLES}


def test_payments_that_are_made_at_once_have_different_addresses(variables: dict[str, str]) -> None:
    from coordinator.core.database import database

    users = [user_of(f"0x{number:040x}") for number in range(10)]
    # More than can be made: each user may have ten.
    parts = [(create, (users[number:] + users[:number], 2 * 10)) for number in range(PROCESSES)]

    made = flat(together(*parts, variables=variables))

    assert len({address for _, address in made}) == len(made) == 100
    indices = database().read(lambda tx: tx.scalars(text("SELECT address_index FROM payments")).all())
    # None was passed over, as wallets look for the money at a few unused addresses only.
    assert sorted(indices) == list(range(100))


def test_nobody_has_more_than_ten_open_payments(variables: dict[str, str]) -> None:
    user_id = user_of("0x" + "a1" * 20)

    made = flat(together(*[(create, ([user_id], 5))] * PROCESSES, variables=variables))

    assert len(made) == 10


def test_schedules_that_run_at_once_credit_every_output_once(api: Api, variables: dict[str, str]) -> None:
    users = [user_of(f"0x{number:040x}") for number in range(4)]
    made = flat(together((create, (users, 40)), variables=variables))
    chain = Frozen({address: 10_000 for _, address in made})

    for _ in range(2):
        checked = together(*[(check, (chain,))] * PROCESSES, variables=variables)
        make_all_due()

    assert sum(checked) == 40
    assert {user_id: balance(api, user_id) for user_id in users} == dict.fromkeys(users, ("100", "0"))
    assert broken_laws() == {}


def test_a_schedule_that_is_killed_leaves_nothing_half_done(api: Api, variables: dict[str, str]) -> None:
    from coordinator.payments import check as checks

    users = [user_of(f"0x{number:040x}") for number in range(1)]
    made = flat(together((create, (users, 6)), variables=variables))
    chain = Frozen({address: 10_000 for _, address in made})
    context = multiprocessing.get_context("spawn")

    credited = []
    for after in (0, 1, 3):
        killed = context.Process(target=check_and_die, args=(chain, variables, after))
        killed.start()
        killed.join(60)
        assert killed.exitcode == -signal.SIGKILL
        assert broken_laws() == {}
        credited.append(balance(api, users[0])[0])
        make_all_due()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(checks, "chain", lambda: chain)
        checks.check_due()

    assert credited[0] == "0"
    assert balance(api, users[0]) == ("60", "0")
    assert broken_laws() == {}
