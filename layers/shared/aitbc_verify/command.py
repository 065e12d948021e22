"""Verify a receipt of an AITBC coordinator, and that its log only grows.

FILE is a file, a URL, or - for standard input. With --url, what is not given is fetched from that coordinator.
Exit status: 0 all that was checked holds, 1 something does not, 2 all does, but something could not be read.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from aitbc_verify import log, receipts
from aitbc_verify.checkpoints import Checkpoint, verified_checkpoint
from aitbc_verify.errors import NotVerified
from aitbc_verify.sources import Unreadable, parse_json, read_json, read_text

T = TypeVar("T")

_VALID, _INVALID, _UNKNOWN = range(3)
_FILES = {
    "jwks": "the coordinator's public keys: /.well-known/jwks.json",
    "result": "the result, if the receipt's file does not have it",
    "parameters": "the parameters that the job was submitted with",
    "inclusion": "the proof that the log has the receipt: /v1/receipts/ID/inclusion",
    "checkpoint": "the log's checkpoint that this must lead to: /v1/receipts/checkpoint",
    "since": "an earlier checkpoint; proves that the log has only grown since",
    "consistency": "the proof of that: /v1/receipts/consistency?from=SIZE&to=SIZE",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks what the command line asks for; gives the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.receipt is None and options.since is None:
        parser.error("name a receipt, or an earlier checkpoint with --since")
    checks = _Checks()
    try:
        _run(_Sources(options), checks)
    except Unreadable as error:
        sys.stderr.write(f"aitbc-verify: {_printable(str(error))}\n")
        if not checks.failed:
            return _UNKNOWN
    sys.stdout.write(f"NOT VALID: {', '.join(checks.failed)}\n" if checks.failed else "valid\n")
    return _INVALID if checks.failed else _VALID


def _parser() -> argparse.ArgumentParser:
    title, _, rest = str(__doc__).partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="aitbc-verify", description=title, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("receipt", nargs="?", metavar="RECEIPT", help="a receipt, the answer it came in, or its proof")
    parser.add_argument("--url", help="the coordinator, such as https://api.example.org")
    for name, text in _FILES.items():
        parser.add_argument(f"--{name}", metavar="FILE", help=text)
    return parser


class _Checks:
    """Prints a line for each check and notes which have failed."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def make(self, name: str, work: Callable[[], T], says: Callable[[T], str]) -> T | None:
        """Gives what the check has found, None if it has failed."""
        try:
            found = work()
        except NotVerified as error:
            self.failed.append(name)
            self._tell(name, "FAILED", str(error))
            return None
        self._tell(name, "ok", says(found))
        return found

    def leave(self, name: str) -> None:
        """Says that something was not checked, for want of it."""
        self._tell(name, "-", f"not checked; name it with --{name}")

    def _tell(self, name: str, verdict: str, says: str) -> None:
        sys.stdout.write(f"{name:<12}{verdict:<8}{_printable(says)}\n")


def _printable(text: str) -> str:
    """Whatever a forged receipt says, a terminal gets one line, and nothing that it would take for a command."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)


class _Sources:
    """Where what is needed comes from: what the command line names, else the coordinator."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._given: dict[str, str | None] = vars(options)
        self._url: str | None = options.url and options.url.removesuffix("/")

    def given(self, name: str) -> str | None:
        return self._given[name]

    def of(self, name: str, path: str) -> str:
        """What is given under this name, else the coordinator's own under this path.

        Raises:
            Unreadable: neither is known.
        """
        if given := self._given[name]:
            return given
        if self._url is None:
            raise Unreadable(f"name it with --{name}, or the coordinator with --url")
        return self._url + path

    def can_tell(self, name: str) -> bool:
        return self._given[name] is not None or self._url is not None


class _Shown(NamedTuple):
    """A proof, and all that is said beside it."""

    proof: str
    receipts: list[Mapping[str, Any]]
    results: list[Any]


def _read_receipt(source: str) -> _Shown:
    """Reads a receipt, the answer to `.../result` that has one, or a mere proof.

    Raises:
        Unreadable: it is none of them.
    """
    text = read_text(source).strip()
    if not text.startswith("{"):
        return _Shown(text, [], [])
    whole = parse_json(source, text)
    receipt = whole.get("receipt", whole)
    if not isinstance(receipt, dict) or not isinstance(receipt.get("proof"), str):
        raise Unreadable(f"{source}: there is no receipt in it")
    if receipt is whole:
        return _Shown(receipt["proof"], [receipt], _results(receipt))
    # The answer names the job and has the result once more.
    beside = {name: whole[name] for name in ("job_id",) if name in whole}
    return _Shown(receipt["proof"], [receipt, beside], _results(receipt) + _results(whole))


def _results(receipt: Mapping[str, Any]) -> list[Any]:
    return [receipt["result"]] if "result" in receipt else []


def _run(sources: _Sources, checks: _Checks) -> None:
    jwks = read_json(sources.of("jwks", "/.well-known/jwks.json"))
    receipt, since = sources.given("receipt"), sources.given("since")
    newest = None if receipt is None else _check_receipt(_read_receipt(receipt), jwks, sources, checks)
    if sources.given("checkpoint") is not None or (newest is None and since is not None):
        named = _checkpoint("checkpoint", sources.of("checkpoint", "/v1/receipts/checkpoint"), jwks, checks)
        if newest and named:
            older, newer = sorted((newest, named), key=lambda checkpoint: checkpoint.size)
            _check_growth("same-log", older, newer, sources, checks)
        newest = named
    if since is not None:
        before = _checkpoint("since", since, jwks, checks)
        if before and newest:
            _check_growth("growth", before, newest, sources, checks)


def _checkpoint(name: str, source: str, jwks: Any, checks: _Checks) -> Checkpoint | None:
    note = _read_note(source)
    return checks.make(name, lambda: verified_checkpoint(note, jwks), lambda found: f"{found.size} entries")


def _read_note(source: str) -> str:
    """Reads a signed note, or the answer that has one."""
    text = read_text(source)
    if not text.startswith("{"):
        return text
    note = parse_json(source, text).get("checkpoint")
    if not isinstance(note, str):
        raise Unreadable(f"{source}: there is no checkpoint in it")
    return note


def _check_receipt(shown: _Shown, jwks: Any, sources: _Sources, checks: _Checks) -> Checkpoint | None:
    """Gives the checkpoint of the log that has the receipt, if that was asked for and is proved."""
    statement = checks.make(
        "signature",
        lambda: receipts.verified_statement(shown.proof, jwks),
        lambda stated: f"receipt {stated['sub']} of job {stated['job_id']}",
    )
    if statement is None:
        return None
    checks.make(
        "receipt",
        lambda: receipts.require_same(statement, *shown.receipts),
        lambda _: "shows nothing but what was signed",
    )
    _check_hash("result", [*shown.results, *_read_given("result", sources)], statement, checks)
    _check_hash("parameters", _read_given("parameters", sources), statement, checks)
    checks.make(
        "miner",
        lambda: receipts.is_signed_by_miner(statement),
        lambda signed: f"signed by {statement['miner_public_key']}" if signed else "the miner has no key",
    )
    if not sources.can_tell("inclusion"):
        checks.leave("inclusion")
        return None
    inclusion = read_json(sources.of("inclusion", f"/v1/receipts/{statement['sub']}/inclusion"))
    return checks.make(
        "inclusion",
        lambda: log.verified_inclusion(shown.proof, inclusion, jwks),
        lambda checkpoint: f"entry {inclusion['log_index']} of {checkpoint.size}",
    )


def _check_hash(name: str, values: list[Any], statement: Mapping[str, Any], checks: _Checks) -> None:
    if not values:
        checks.leave(name)
        return
    checks.make(
        name,
        lambda: receipts.require_hash(statement, name, *values),
        lambda _: f"SHA-256 {statement[f'{name}_sha256']}",
    )


def _check_growth(name: str, older: Checkpoint, newer: Checkpoint, sources: _Sources, checks: _Checks) -> None:
    path = f"/v1/receipts/consistency?from={older.size}&to={newer.size}"
    consistency = read_json(sources.of("consistency", path)) if log.needs_proof(older, newer) else None
    checks.make(
        name,
        lambda: log.require_grown(older, newer, consistency),
        lambda _: f"from {older.size} to {newer.size} entries, none of them changed",
    )


def _read_given(name: str, sources: _Sources) -> list[Any]:
    source = sources.given(name)
    return [] if source is None else [read_json(source)]
