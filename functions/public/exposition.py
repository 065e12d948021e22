"""How all metrics are written for Prometheus.

https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4)
"""

import hmac
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from coordinator.core.clock import SECOND_US
from coordinator.core.config import settings
from coordinator.http.metrics import BOUNDS_SECONDS, DURATION, REQUESTS
from coordinator.jobs.gauges import Gauges
from coordinator.ledger.check import Checked
from coordinator.payments.gauges import PaymentGauges
from coordinator.receipts.gauges import LogGauges

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_REQUEST_LABELS = ("group", "method", "route", "status")
_DURATION_LABELS = ("group", "route")
_SCHEDULES = "schedule_runs_total"
_CHAIN_FAILURES = "chain_failures_total"


def may_read(authorization: str | None) -> bool:
    """Tells whether a request with this header may read the metrics."""
    token = settings().metrics_token
    given = (authorization or "").encode("utf-8", "surrogateescape")
    return not token or hmac.compare_digest(given, f"Bearer {token}".encode())


def exposition(
    totals: Counter[str], gauges: Gauges, ledger: Checked | None, log: LogGauges, payments: PaymentGauges
) -> str:
    """All metrics in Prometheus's text format."""
    by_name: dict[str, list[tuple[list[str], int]]] = defaultdict(list)
    for key, value in sorted(totals.items()):
        name, *labels = key.split(" ")
        by_name[name].append((labels, value))
    return "".join(
        line + "\n"
        for line in (
            *_family(
                REQUESTS, "counter", "Requests answered by the functions.", _plain(by_name, REQUESTS, _REQUEST_LABELS)
            ),
            *_family(DURATION, "histogram", "Time from the event to its answer.", _histogram(by_name)),
            *_family(_SCHEDULES, "counter", "Finished runs of a schedule.", _plain(by_name, _SCHEDULES, ("schedule",))),
            *_gauges(gauges),
            *(_ledger(ledger) if ledger else ()),
            *_log(log),
            *_payments(payments),
            *_one(_CHAIN_FAILURES, "counter", "Readings of the chain that failed.", totals[_CHAIN_FAILURES]),
        )
    )


def _ledger(ledger: Checked) -> Iterator[str]:
    yield from _one("ledger_check_ok", "gauge", "Whether the ledger was sound at its latest check.", int(ledger.ok))
    when = f"{ledger.at_seconds:.3f}"
    yield from _one("ledger_check_timestamp_seconds", "gauge", "When the ledger was checked last.", when)


def _log(log: LogGauges) -> Iterator[str]:
    yield from _one("receipt_log_size", "gauge", "Receipts in the transparency log.", log.size)
    yield from _one(
        "receipt_log_waiting", "gauge", "Receipts that the log has yet to take in, 10000 at most.", log.waiting
    )
    if log.signed_at_seconds is not None:
        when = f"{log.signed_at_seconds:.3f}"
        yield from _one("receipt_log_checkpoint_timestamp_seconds", "gauge", "When the log was signed last.", when)


def _payments(payments: PaymentGauges) -> Iterator[str]:
    samples = [_sample("payments", {"status": status}, value) for status, value in payments.payments.items()]
    yield from _family("payments", "gauge", "Payments by status.", samples)
    yield from _one(
        "payment_check_overdue_seconds",
        "gauge",
        "For how long a payment has been due to be looked up on the chain; 0 if none is.",
        payments.overdue_seconds,
    )
    if payments.chain_height is not None:
        yield from _one("chain_height", "gauge", "The highest block that was seen.", payments.chain_height)
        when = f"{payments.chain_read_at_seconds:.3f}"
        yield from _one("chain_read_timestamp_seconds", "gauge", "When the chain was read last.", when)


def _gauges(gauges: Gauges) -> Iterator[str]:
    yield from _one("active_jobs", "gauge", "Jobs that are pending or running.", gauges.pending + gauges.running)
    yield from _one("registered_miners", "gauge", "Miners that are active.", gauges.active_miners)
    depth = {"pending": gauges.pending, "running": gauges.running}
    samples = [_sample("queue_depth", {"status": status}, value) for status, value in depth.items()]
    yield from _family("queue_depth", "gauge", "Unfinished jobs by status.", samples)
    yield from _one(
        "oldest_pending_age_seconds",
        "gauge",
        "Time since the oldest pending job was submitted; 0 without one.",
        gauges.oldest_pending_age_seconds,
    )
    yield from _one("lease_expiries_total", "counter", "Leases that have expired.", gauges.lease_expiries)


def _one(name: str, kind: str, text: str, value: Any) -> Iterator[str]:
    return _family(name, kind, text, [_sample(name, {}, value)])


def _family(name: str, kind: str, text: str, samples: Iterable[str]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    yield from samples


def _plain(by_name: dict[str, list[tuple[list[str], int]]], name: str, labels: tuple[str, ...]) -> Iterator[str]:
    for values, value in by_name[name]:
        yield _sample(name, dict(zip(labels, values, strict=True)), value)


def _histogram(by_name: dict[str, list[tuple[list[str], int]]]) -> Iterator[str]:
    found: dict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    for (*of, bound), count in by_name[f"{DURATION}_bucket"]:
        found[tuple(of)][bound] = count
    sums = {tuple(values): value for values, value in by_name[f"{DURATION}_us"]}
    for values, counts in found.items():
        labels = dict(zip(_DURATION_LABELS, values, strict=True))
        until = 0
        for bound in (*map(str, BOUNDS_SECONDS), "+Inf"):
            until += counts.get(bound, 0)
            yield _sample(f"{DURATION}_bucket", {**labels, "le": bound}, until)
        seconds, us = divmod(sums[values], SECOND_US)
        yield _sample(f"{DURATION}_sum", labels, f"{seconds}.{us:06d}")
        yield _sample(f"{DURATION}_count", labels, until)


def _sample(name: str, labels: dict[str, str], value: Any) -> str:
    named = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return f"{name}{{{named}}} {value}" if named else f"{name} {value}"
