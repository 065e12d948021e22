"""What a function imports before it can serve anything, as it is built: a budget of packages, not of seconds."""

from pathlib import Path

import pytest

from local.template import Function, read_template
from tests.sam.starting import start

pytestmark = pytest.mark.timeout(600)


def _ours(*subjects: str) -> set[str]:
    return {"coordinator", *(f"coordinator.{subject}" for subject in subjects)}


_LOG = _ours("core") | {"aws_lambda_powertools", "jmespath"}
_TABLES = {"annotated_types", "pydantic", "pydantic_core", "sqlalchemy", "typing_extensions", "uuid_utils"}
_SCHEDULED = _ours("metrics") | _LOG | _TABLES | {"typing_inspection"}
# Receipts, and the miners' keys in registrations.
_SIGNATURES = {"_cffi_backend", "cryptography", "rfc8785"}
_HTTP = _ours("http", "users") | {"annotated_doc", "anyio", "fastapi", "mangum", "opentelemetry", "starlette"}
_DRIVER = {"psycopg", "psycopg_binary"}
_API = _SCHEDULED | _SIGNATURES | _HTTP | _DRIVER | {"aitbc_verify"}
_WALLETS = {"Crypto", "_libsecp256k1", "bip322", "cffi", "coincurve", "pycparser"}
_JOBS = _ours("jobs", "ledger", "miners", "receipts", "users")

# By handler: what it may have imported once Lambda can call it.
BUDGETS = {
    "client.app.handler": _API | _JOBS | _ours("idempotency"),
    "miner.app.handler": _API | _JOBS | _ours("idempotency"),
    "admin.app.handler": _API | _JOBS | _ours("audit", "idempotency", "payments"),
    "receipts.app.handler": _API | _ours("receipts"),
    "public.app.handler": _API | _JOBS | _ours("migrations", "payments") | {"fastapi_offline"},
    "users.app.handler": _API | _WALLETS | _ours("idempotency", "ledger"),
    "exchange.app.handler": _API | _ours("idempotency", "ledger", "payments") | {"embit"},
    "exchange.payments.handler": _SCHEDULED | _ours("ledger", "payments") | {"embit"},
    "miner.heartbeats.handler": _SCHEDULED | _SIGNATURES | _JOBS | _ours("idempotency"),
    "receipts.growth.handler": _SCHEDULED | _SIGNATURES | _ours("receipts") | {"aitbc_verify"},
    "admin.ledger.handler": _SCHEDULED | _ours("ledger"),
    "migrate.app.handler": _LOG
    | _ours("migrations")
    | {"alembic", "mako", "markupsafe", "sqlalchemy", "typing_extensions"},
}


def imported(build_folder: Path, handler: str, database_url: str) -> set[str]:
    [function] = [f for f in functions(build_folder) if f.handler == handler]
    return set(start(build_folder, function.name, handler, DATABASE_URL=database_url)["modules"])


def functions(build_folder: Path) -> list[Function]:
    return list(read_template(build_folder / "template.yaml").functions.values())


def packages(modules: set[str], function: str) -> set[str]:
    """Those that are not the function's own: packages of others, and the project's by subject."""
    parts = (name.split(".") for name in modules)
    names = {".".join(of[:2] if of[0] == "coordinator" else of[:1]) for of in parts}
    return names - {function.partition(".")[0]}


def test_every_function_has_a_budget(build_folder: Path) -> None:
    assert {function.handler for function in functions(build_folder)} == set(BUDGETS)


@pytest.mark.parametrize("handler", BUDGETS)
def test_a_function_imports_only_what_it_needs(build_folder: Path, handler: str) -> None:
    modules = imported(build_folder, handler, "postgresql+psycopg://user@never.connected/database")

    assert packages(modules, handler) - BUDGETS[handler] == set()
    # No old models, which FastAPI would load wherever there are any; no mapper, as tables are those of SQLAlchemy Core.
    assert not modules & {"pydantic.v1", "sqlalchemy.orm"}


# Alembic imports the dialects by itself.
@pytest.mark.parametrize("handler", sorted(BUDGETS.keys() - {"migrate.app.handler"}))
def test_where_it_is_sqlite_no_driver_of_another_database_is_imported(build_folder: Path, handler: str) -> None:
    modules = imported(build_folder, handler, "sqlite:////never/opened.db")

    assert not packages(modules, handler) & _DRIVER
    assert "sqlalchemy.dialects.postgresql" not in modules
