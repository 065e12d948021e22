"""The dashboard and the alerts ask for metrics and labels that there are."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from coordinator.core.database import database
from coordinator.metrics.counters import counters
from tests.api import Api
from tests.exchange import Exchange, open_exchange
from tests.integration.logins import logged_in

OPERATE = Path(__file__).parents[2] / "docs/operate"
# Words of PromQL that are neither metrics nor, as they stand before a bracket, functions.
WORDS = {"by", "and", "or"}


def alerts() -> list[Any]:
    return [
        rule for group in yaml.safe_load((OPERATE / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
    ]


def panels() -> list[Any]:
    return list(json.loads((OPERATE / "grafana-dashboard.json").read_text())["panels"])


QUERIES = [rule["expr"] for rule in alerts()] + [target["expr"] for panel in panels() for target in panel["targets"]]


def metrics_in(query: str) -> dict[str, set[str]]:
    """The metrics of a query, each with the labels that it is asked for by."""
    matchers = r'\{((?:[^"}]|"[^"]*")*)\}'
    bare = re.sub(r"\bby \([^)]*\)", "", query)
    labelled = {
        name: set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels))
        for name, labels in re.findall(r"\b([a-z_]+)" + matchers, bare)
    }
    rest = re.sub(r'"[^"]*"|\[[^]]*\]', "", re.sub(matchers, "", bare))
    plain = set(re.findall(r"\b[a-z_]+\b(?!\s*\()", rest)) - WORDS
    return {name: labelled.get(name, set()) for name in plain}


@pytest.fixture
def live(api: Api, client: Api, miner: Api, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Every metric that a running coordinator gives, with its labels."""
    from admin.ledger import handler as check_ledger
    from exchange.payments import handler as check_payments
    from miner.heartbeats import handler as sweep
    from receipts.growth import handler as let_log_grow

    exchange = Exchange(logged_in(api), open_exchange(monkeypatch))
    exchange.create()
    check_payments({}, None)
    client.submit()
    miner.register()
    miner.answer(miner.poll()[0])
    sweep({}, None)
    check_ledger({}, None)
    let_log_grow({}, None)
    counters().flush(database())
    families = text_string_to_metric_families(api.get("/metrics").text)
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def test_the_queries_are_understood() -> None:
    query = 'max by (le) (rate(a_total{x=~"{y}(z)", w="1"}[5m])) / 60 * b > 0 or absent(c)'

    assert metrics_in(query) == {"a_total": {"x", "w"}, "b": set(), "c": set()}


def test_all_metrics_and_labels_that_are_asked_for_exist(live: dict[str, set[str]]) -> None:
    asked = [(name, labels) for query in QUERIES for name, labels in metrics_in(query).items()]

    assert {name for name, _ in asked} <= set(live)
    assert [(name, labels) for name, labels in asked if not labels <= live[name]] == []


def test_all_labels_that_are_summed_by_exist(live: dict[str, set[str]]) -> None:
    by = {label for query in QUERIES for found in re.findall(r"by \(([^)]*)\)", query) for label in found.split(", ")}

    assert by <= set().union(*live.values())


def test_every_metric_of_ours_is_on_the_dashboard(live: dict[str, set[str]]) -> None:
    shown = {name for panel in panels() for target in panel["targets"] for name in metrics_in(target["expr"])}

    histogram = {f"api_request_duration_seconds_{part}" for part in ("sum", "count")}
    assert set(live) - histogram <= shown


def test_every_alert_says_what_to_do() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert re.fullmatch(r"\d+m", rule["for"])
