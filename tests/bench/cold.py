"""What a new execution environment takes, as it is built: init and first request of each function, and their sizes."""

import json
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from local.template import Function, read_template
from tests.bench.databases import Databases
from tests.bench.report import say, show
from tests.bench.size import Size
from tests.sam.build import NoRuntimePython, build
from tests.sam.starting import LAYER, start

FULL = Size(rounds=9)
TINY = Size(rounds=1)

# What a function that does nothing would import, and with a driver as SQLAlchemy uses it.
_BARE = {
    "sqlite": "fastapi,mangum,sqlalchemy,sqlalchemy.dialects.sqlite",
    "postgresql": "fastapi,mangum,sqlalchemy,sqlalchemy.dialects.postgresql.psycopg,psycopg",
}
_BAREST = "fastapi,mangum,sqlalchemy"
_KEYS = {"CLIENT_API_KEYS": "bench-client", "MINER_API_KEYS": "bench-miner", "ADMIN_API_KEYS": "bench-admin"}
# The first request of each; whoever is not named is called as its schedule would.
_REQUESTS: dict[str, tuple[str, str, str, Any]] = {
    "client.app.handler": ("POST", "/v1/client/jobs", "bench-client", {"job_type": "custom"}),
    "miner.app.handler": (
        "POST",
        "/v1/miner/register",
        "bench-miner",
        {"address": "ait1bench", "capabilities": ["custom"]},
    ),
    "users.app.handler": ("POST", "/v1/users/challenge", "", {"wallet_address": "0x" + "a1" * 20}),
    "admin.app.handler": ("GET", "/v1/admin/stats", "bench-admin", None),
    "receipts.app.handler": ("GET", "/v1/receipts/checkpoint", "", None),
    "exchange.app.handler": ("GET", "/v1/exchange/rates", "", None),
    "public.app.handler": ("GET", "/health/ready", "", None),
}


def run(size: Size, databases: Databases) -> tuple[dict[str, Any], list[str]]:
    """The figures, and what went wrong."""
    assert size.rounds is not None
    with tempfile.TemporaryDirectory(prefix="cold-") as folder:
        built = Path(folder) / "build"
        say("cold: building what would be deployed")
        try:
            template = read_template(build(built))
        except NoRuntimePython as error:
            say(f"cold starts are left out: {error}")
            return {"left_out": str(error)}, []
        functions = [f for f in template.functions.values() if f.name != "MigrateFunction"]
        figures: dict[str, Any] = {"sizes": {name: _sizes(built / name) for name in [LAYER, *template.functions]}}
        failures = []
        for kind in databases.kinds:
            with databases.fresh(kind) as url:
                say(f"cold, {kind}: {size.rounds} starts of each")
                figures[kind], failed = _start_all(built, functions, kind, url, size.rounds)
            failures += [f"{kind}: {failure}" for failure in failed]
            _show(kind, figures[kind], figures["sizes"])
    return figures, failures


def _start_all(
    built: Path, functions: list[Function], kind: str, url: str, rounds: int
) -> tuple[dict[str, Any], list[str]]:
    """All in turn, round by round, so that what else the machine does meets all alike."""
    started: dict[str, list[dict[str, Any]]] = {}
    failures = []
    for _ in range(rounds):
        for name, modules in (("bare", _BAREST), ("bare with driver", _BARE[kind])):
            started.setdefault(name, []).append(start(built, functions[0].name, modules, DATABASE_URL=url))
        for function in functions:
            event = _event(function.handler)
            told = start(built, function.name, function.handler, event, DATABASE_URL=url, **_KEYS)
            started.setdefault(function.name, []).append(told)
            status = told["answer"].get("statusCode", 200)
            if status >= 400:
                failures.append(f"{function.name}: {status} {told['answer'].get('body')}")
    figures = {
        name: {
            "init_ms": _median(all_told, "init", "ms"),
            "init_cpu_ms": _median(all_told, "init", "cpu_ms"),
            "modules": len(all_told[0]["modules"]),
            **({"first_ms": _median(all_told, "first", "ms")} if all_told[0]["first"] else {}),
            **({"first_cpu_ms": _median(all_told, "first", "cpu_ms")} if all_told[0]["first"] else {}),
        }
        for name, all_told in started.items()
    }
    return figures, failures


def _event(handler: str) -> dict[str, Any]:
    if handler not in _REQUESTS:
        return {}
    method, path, key, body = _REQUESTS[handler]
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": "api.bench", "content-type": "application/json", **({"x-api-key": key} if key else {})},
        "requestContext": {"requestId": "bench", "http": {"method": method, "path": path, "sourceIp": "192.0.2.1"}},
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


def _median(all_told: list[dict[str, Any]], part: str, what: str) -> float:
    return statistics.median(told[part][what] for told in all_told)


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes as Lambda unpacks them, and as they are uploaded."""
    unzipped = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    with tempfile.TemporaryDirectory() as place:
        archive = shutil.make_archive(f"{place}/archive", "zip", folder)
        return {"unzipped": unzipped, "zipped": Path(archive).stat().st_size}


def _show(kind: str, figures: dict[str, Any], sizes: dict[str, dict[str, int]]) -> None:
    bare, with_driver = figures["bare"]["init_cpu_ms"], figures["bare with driver"]["init_cpu_ms"]
    show(
        f"Cold starts, {kind}",
        ("", "init ms", "of them CPU", "x bare", "x with driver", "first request ms", "modules", "KB zipped"),
        [
            (
                name,
                f"{each['init_ms']:.0f}",
                f"{each['init_cpu_ms']:.0f}",
                f"{each['init_cpu_ms'] / bare:.2f}",
                f"{each['init_cpu_ms'] / with_driver:.2f}",
                f"{each['first_ms']:.0f}" if "first_ms" in each else "",
                each["modules"],
                f"{sizes[name]['zipped'] / 1000:,.0f}" if name in sizes else "",
            )
            for name, each in figures.items()
        ],
        note=f"bare: import fastapi, mangum, sqlalchemy. The layer has {sizes[LAYER]['zipped'] / 1e6:.1f} MB zipped, "
        f"{sizes[LAYER]['unzipped'] / 1e6:.1f} MB unpacked.",
    )
