"""What a function imports before it can serve anything, as it is built: a budget of packages, not of seconds."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from local.template import Function, read_template
from tests.sam.starting import start

pytestmark = pytest.mark.timeout(600)


def _ours(*names: str) -> set[str]:
    """The project's own: subjects, and of HTTP bodies, which take long to make, each module by itself."""
    return {"coordinator", *(f"coordinator.{name}" for name in names)}


_LOG = _ours("core") | {"aws_lambda_powertools", "jmespath"}
_SCHEDULED = _ours("metrics") | _LOG | {"sqlalchemy", "typing_extensions", "uuid_utils"}
_BODIES = _ours("core.schemas") | {"annotated_types", "pydantic", "pydantic_core", "typing_inspection"}
_HTTP = _ours("http", "users") | {"annotated_doc", "anyio", "fastapi", "mangum", "opentelemetry", "starlette"}
_DRIVER = {"psycopg", "psycopg_binary"}
# Answers that are kept for an Idempotency-Key are found by the hash of their request.
_API = _SCHEDULED | _BODIES | _HTTP | _DRIVER | {"rfc8785"}
_CIPHERS = {"_cffi_backend", "cryptography"}
_RECEIPTS = _ours("receipts") | _CIPHERS | {"aitbc_verify", "rfc8785"}
_WALLETS = {"Crypto", "_cffi_backend", "_libsecp256k1", "bip322", "cffi", "coincurve", "pycparser"}
_JOBS = _ours("jobs", "ledger", "miners", "users")

# By handler: what it may have imported once Lambda can call it.
BUDGETS = {
    "client.app.handler": _API | _JOBS | _ours("idempotency", "jobs.schemas", "receipts", "receipts.schemas"),
    "miner.app.handler": _API
    | _JOBS
    | _RECEIPTS
    | _ours("idempotency", "jobs.lease_schemas", "miners.schemas", "receipts.schemas"),
    # Operators see everything; that a miner's key is one is checked by a cipher.
    "admin.app.handler": _API
    | _JOBS
    | _CIPHERS
    | _ours("audit", "idempotency", "payments", "receipts")
    | _ours(*(f"{name}.schemas" for name in ("audit", "jobs", "ledger", "miners", "payments", "receipts", "users"))),
    "receipts.app.handler": _API | _RECEIPTS | _ours("receipts.proof_schemas"),
    "public.app.handler": _API | _JOBS | _RECEIPTS | _ours("migrations", "payments") | {"fastapi_offline"},
    "users.app.handler": _API | _WALLETS | _ours("idempotency", "ledger", "ledger.schemas", "users.schemas"),
    "exchange.app.handler": _API | _ours("idempotency", "ledger", "payments", "payments.schemas") | {"embit"},
    "exchange.payments.handler": _SCHEDULED | _BODIES | _ours("ledger", "payments", "payments.schemas") | {"embit"},
    "miner.heartbeats.handler": _SCHEDULED | _JOBS | _ours("idempotency"),
    "receipts.growth.handler": _SCHEDULED | _BODIES | _RECEIPTS | _ours("receipts.proof_schemas"),
    "admin.ledger.handler": _SCHEDULED | _ours("ledger"),
    "migrate.app.handler": _LOG
    | _ours("migrations")
    | {"alembic", "mako", "markupsafe", "sqlalchemy", "typing_extensions"},
}


_SQLITE = "sqlite:////never/opened.db"
_POSTGRES = "postgresql+psycopg://user@never.connected/database"


def imported(build_folder: Path, handler: str, database_url: str) -> set[str]:
    return set(start_of(build_folder, handler, database_url)["modules"])


@cache
def start_of(build_folder: Path, handler: str, database_url: str) -> dict[str, Any]:
    [function] = [f for f in functions(build_folder) if f.handler == handler]
    return start(build_folder, function.name, handler, DATABASE_URL=database_url)


def functions(build_folder: Path) -> list[Function]:
    return list(read_template(build_folder / "template.yaml").functions.values())


def packages(modules: set[str], function: str) -> set[str]:
    """What was imported that is not the function's own, in the words of the budgets."""
    return {_word(name) for name in modules} - {function.partition(".")[0]}


def _word(module: str) -> str:
    package, *parts = module.split(".")
    if package != "coordinator":
        return package
    return module if module.endswith("schemas") else ".".join((package, *parts[:1]))


def test_every_function_has_a_budget(build_folder: Path) -> None:
    assert {function.handler for function in functions(build_folder)} == set(BUDGETS)


@pytest.mark.parametrize("handler", BUDGETS)
def test_a_function_imports_only_what_it_needs(build_folder: Path, handler: str) -> None:
    modules = imported(build_folder, handler, _POSTGRES)

    assert packages(modules, handler) - BUDGETS[handler] == set()
    # No old models, which FastAPI would load wherever there are any; no mapper, as tables are those of SQLAlchemy Core.
    assert not modules & {"pydantic.v1", "sqlalchemy.orm"}


# Alembic imports the dialects by itself.
@pytest.mark.parametrize("handler", sorted(BUDGETS.keys() - {"migrate.app.handler"}))
def test_nothing_of_the_other_kind_of_database_is_imported(build_folder: Path, handler: str) -> None:
    on_sqlite = imported(build_folder, handler, _SQLITE)
    on_postgres = imported(build_folder, handler, _POSTGRES)

    assert not packages(on_sqlite, handler) & _DRIVER
    assert "sqlalchemy.dialects.postgresql" not in on_sqlite
    assert "sqlalchemy.dialects.sqlite" not in on_postgres


@pytest.mark.parametrize("handler", sorted(handler for handler in BUDGETS if BUDGETS[handler] >= _HTTP))
def test_the_garbage_collector_waits_until_a_function_can_serve(build_folder: Path, handler: str) -> None:
    started = start_of(build_folder, handler, _POSTGRES)

    # Whatever came before the function's own first line.
    assert started["collected"] <= 1
    assert started["collecting"]
