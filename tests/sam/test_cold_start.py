"""What a function imports before it can serve anything, as it is built: a budget of packages, not of seconds."""

from pathlib import Path

import pytest

from local.template import Function, read_template
from tests.sam.starting import start

pytestmark = pytest.mark.timeout(600)

_LOG = {"aws_lambda_powertools", "jmespath"}
_TABLES = {"annotated_types", "pydantic", "pydantic_core", "sqlalchemy", "sqlmodel", "typing_extensions", "uuid_utils"}
_SCHEDULED = _LOG | _TABLES | {"typing_inspection"}
# Receipts, and the miners' keys in registrations.
_SIGNATURES = {"_cffi_backend", "cryptography", "rfc8785"}
_HTTP = {"annotated_doc", "anyio", "fastapi", "mangum", "opentelemetry", "starlette"}
_DRIVER = {"psycopg", "psycopg_binary"}
_API = _SCHEDULED | _SIGNATURES | _HTTP | _DRIVER | {"aitbc_verify"}
_WALLETS = {"Crypto", "_libsecp256k1", "bip322", "cffi", "coincurve", "pycparser"}

# By handler: what it may have imported of others once Lambda can call it. Of ours it may have anything.
BUDGETS = {
    "client.app.handler": _API,
    "miner.app.handler": _API,
    "admin.app.handler": _API,
    "receipts.app.handler": _API,
    "public.app.handler": _API | {"fastapi_offline"},
    "users.app.handler": _API | _WALLETS,
    "exchange.app.handler": _API | {"embit"},
    "exchange.payments.handler": _SCHEDULED | {"embit"},
    "miner.heartbeats.handler": _SCHEDULED | _SIGNATURES,
    "receipts.growth.handler": _SCHEDULED | _SIGNATURES | {"aitbc_verify"},
    "admin.ledger.handler": _SCHEDULED,
    "migrate.app.handler": _LOG | {"alembic", "mako", "markupsafe", "sqlalchemy", "typing_extensions"},
}


def imported(build_folder: Path, handler: str, database_url: str) -> set[str]:
    [function] = [f for f in functions(build_folder) if f.handler == handler]
    return set(start(build_folder, function.name, handler, DATABASE_URL=database_url)["modules"])


def functions(build_folder: Path) -> list[Function]:
    return list(read_template(build_folder / "template.yaml").functions.values())


def packages(modules: set[str], function: str) -> set[str]:
    """Those that are not the project's own."""
    return {name.partition(".")[0] for name in modules} - {"coordinator", function.partition(".")[0]}


def test_every_function_has_a_budget(build_folder: Path) -> None:
    assert {function.handler for function in functions(build_folder)} == set(BUDGETS)


@pytest.mark.parametrize("handler", BUDGETS)
def test_a_function_imports_only_what_it_needs(build_folder: Path, handler: str) -> None:
    modules = imported(build_folder, handler, "postgresql+psycopg://user@never.connected/database")

    assert packages(modules, handler) - BUDGETS[handler] == set()
    # No old models, which FastAPI would load wherever there are any.
    assert "pydantic.v1" not in modules


# Alembic imports the dialects by itself.
@pytest.mark.parametrize("handler", sorted(BUDGETS.keys() - {"migrate.app.handler"}))
def test_where_it_is_sqlite_no_driver_of_another_database_is_imported(build_folder: Path, handler: str) -> None:
    modules = imported(build_folder, handler, "sqlite:////never/opened.db")

    assert not packages(modules, handler) & _DRIVER
    assert "sqlalchemy.dialects.postgresql" not in modules
