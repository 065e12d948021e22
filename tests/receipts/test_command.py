"""`aitbc-verify` says of each check whether it holds, and by its exit status whether all do."""

import http.server
import io
import json
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from aitbc_verify.command import main
from tests.receipts.issued import OTHER_JOB_ID, SIGNERS, issued
from tests.receipts.logs import Log

ROOT = Path(__file__).parents[2]
VALID, INVALID, UNKNOWN = 0, 1, 2


class Outcome:
    """What the command has printed, and its exit status."""

    def __init__(self, status: int, output: str, error: str) -> None:
        self.status, self.output, self.error = status, output, error
        lines = [line.split(None, 2) for line in output.splitlines()[:-1]]
        self.verdicts = {name: verdict for name, verdict, _ in lines}
        self.failed = [name for name, verdict in self.verdicts.items() if verdict == "FAILED"]


class Case:
    """The files of one receipt, in a log of others, and the command that checks them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], algorithm: str) -> None:
        self._folder, self._capsys = folder, capsys
        self.one = issued(algorithm)
        self.log = Log([f"proof-{number}" for number in range(11)], self.one.signer)
        self.log.proofs[4] = self.one.proof
        for name, content in self.files().items():
            self.write(name, content)

    def files(self) -> dict[str, Any]:
        receipt = self.one.receipt
        return {
            "receipt": receipt,
            "answer": {
                "job_id": receipt["job_id"],
                "status": "completed",
                "result": receipt["result"],
                "receipt": receipt,
            },
            "jwks": self.one.jwks,
            "result": receipt["result"],
            "parameters": self.one.parameters,
            "inclusion": self.log.inclusion(4, 7),
            "checkpoint": self.log.checkpoint(11),
            "since": self.log.checkpoint(5),
        }

    def write(self, name: str, content: Any) -> str:
        path = self._folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    def verify(self, *arguments: str, **files: str) -> Outcome:
        """Runs the command; files are options, by the name of what was written."""
        options = [part for name, file in files.items() for part in (f"--{name}", str(self._folder / file))]
        status = main([*arguments, *options])
        return Outcome(status, *self._capsys.readouterr())

    def path(self, name: str) -> str:
        return str(self._folder / name)


@pytest.fixture(params=SIGNERS)
def case(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Case:
    return Case(tmp_path, capsys, request.param)


@pytest.fixture
def served(case: Case) -> Iterator[str]:
    """The address of a coordinator that has this receipt and this log."""
    answers: dict[str, Callable[[], Any]] = {
        "/.well-known/jwks.json": lambda: case.one.jwks,
        f"/v1/receipts/{case.one.receipt['id']}/inclusion": lambda: case.log.inclusion(4),
        "/v1/receipts/checkpoint": lambda: {"checkpoint": case.log.checkpoint(), "tree_size": 11},
        "/v1/receipts/consistency?from=5&to=11": lambda: case.log.consistency(5),
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path, lambda: None)()
            body = json.dumps(answer or {"error": {"message": "not\nhere"}})
            self.send_response(200 if answer else 404)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_receipt_is_checked_with_all_that_it_is_about(case: Case) -> None:
    done = case.verify(case.path("receipt"), jwks="jwks", parameters="parameters", inclusion="inclusion")

    assert done.verdicts == dict.fromkeys(("signature", "receipt", "result", "parameters", "miner", "inclusion"), "ok")
    assert (done.status, done.output.splitlines()[-1], done.error) == (VALID, "valid", "")


def test_what_was_not_checked_is_said(case: Case) -> None:
    bare = case.write("bare", case.one.proof + "\n")

    done = case.verify(bare, jwks="jwks")

    assert {name for name, verdict in done.verdicts.items() if verdict == "-"} == {"result", "parameters", "inclusion"}
    assert done.status == VALID


@pytest.mark.parametrize("form", ["receipt", "answer"])
def test_a_receipt_may_come_in_its_answer_and_on_standard_input(
    case: Case, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    sent = json.dumps(case.files()[form]).encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(sent)))

    done = case.verify("-", jwks="jwks")

    assert (done.status, done.verdicts["result"]) == (VALID, "ok")


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        (lambda answer: answer["receipt"].update(price="0.6"), ["receipt"]),
        (lambda answer: answer["receipt"].update(result={"text": "Rome"}), ["result"]),
        (lambda answer: answer.update(result={"text": "Rome"}), ["result"]),
        (lambda answer: answer.update(job_id=OTHER_JOB_ID), ["receipt"]),
        (lambda answer: answer["receipt"].update(proof=issued(job_id=OTHER_JOB_ID).proof), ["receipt"]),
        (lambda answer: answer["receipt"].update(proof=answer["receipt"]["proof"][:-2]), ["signature"]),
        (lambda answer: answer["receipt"].update(proof="garbage"), ["signature"]),
    ],
)
def test_the_check_that_fails_is_named(case: Case, change: Callable[[Any], None], failed: list[str]) -> None:
    answer = json.loads(json.dumps(case.files()["answer"]))
    change(answer)

    done = case.verify(case.write("changed", answer), jwks="jwks")

    assert (done.status, done.failed) == (INVALID, failed)
    assert done.output.endswith(f"NOT VALID: {', '.join(failed)}\n")


@pytest.mark.parametrize("name", ["result", "parameters"])
def test_a_result_or_parameters_of_another_job_are_found(case: Case, name: str) -> None:
    case.write("other", {"text": "Rome"})

    done = case.verify(case.path("receipt"), jwks="jwks", **{name: "other"})

    assert (done.status, done.failed) == (INVALID, [name])


def test_keys_of_another_coordinator_verify_nothing(case: Case) -> None:
    [mine] = [jwk for jwk in case.one.jwks["keys"] if jwk["kid"] == case.one.signer.kid]
    case.write("jwks", {"keys": [jwk for jwk in case.one.jwks["keys"] if jwk != mine]})

    done = case.verify(case.path("receipt"), jwks="jwks")

    assert (done.status, done.failed) == (INVALID, ["signature"])


def test_an_inclusion_of_another_receipt_is_found(case: Case) -> None:
    case.write("inclusion", case.log.inclusion(3))

    done = case.verify(case.path("receipt"), jwks="jwks", inclusion="inclusion")

    assert (done.status, done.failed) == (INVALID, ["inclusion"])


def test_an_inclusion_is_followed_to_the_checkpoint_that_is_named(case: Case) -> None:
    case.write("consistency", case.log.consistency(7))

    done = case.verify(
        case.path("receipt"), jwks="jwks", inclusion="inclusion", checkpoint="checkpoint", consistency="consistency"
    )

    assert (done.status, done.verdicts["inclusion"], done.verdicts["same-log"]) == (VALID, "ok", "ok")


def test_a_receipt_in_another_log_than_the_one_that_is_named_is_found(case: Case) -> None:
    case.write("consistency", case.log.consistency(7))
    case.log.proofs[4] = "another"
    case.write("checkpoint", case.log.checkpoint(11))

    done = case.verify(
        case.path("receipt"), jwks="jwks", inclusion="inclusion", checkpoint="checkpoint", consistency="consistency"
    )

    assert (done.status, done.failed) == (INVALID, ["same-log"])


@pytest.mark.parametrize("form", ["note", "answer"])
def test_since_proves_that_the_log_has_only_grown(case: Case, form: str) -> None:
    if form == "answer":
        case.write("since", {"checkpoint": case.log.checkpoint(5), "tree_size": 5})
    case.write("consistency", case.log.consistency(5))

    done = case.verify(jwks="jwks", since="since", checkpoint="checkpoint", consistency="consistency")

    assert (done.status, done.verdicts) == (VALID, dict.fromkeys(("checkpoint", "since", "growth"), "ok"))


@pytest.mark.parametrize("tampered", ["changed", "removed", "reordered"])
def test_since_finds_a_log_that_was_tampered_with(case: Case, tampered: str) -> None:
    if tampered == "changed":
        case.log.proofs[2] = "forged"
    elif tampered == "removed":
        del case.log.proofs[2]
    else:
        case.log.proofs[2:4] = reversed(case.log.proofs[2:4])
    case.write("checkpoint", case.log.checkpoint())
    case.write("consistency", case.log.consistency(5))

    done = case.verify(jwks="jwks", since="since", checkpoint="checkpoint", consistency="consistency")

    assert (done.status, done.failed) == (INVALID, ["growth"])


def test_since_finds_a_log_that_was_wound_back(case: Case) -> None:
    done = case.verify(jwks="jwks", since="checkpoint", checkpoint="since")

    assert (done.status, done.failed) == (INVALID, ["growth"])


def test_a_checkpoint_that_was_changed_is_found(case: Case) -> None:
    case.write("since", case.log.checkpoint(5).replace("\n5\n", "\n6\n"))

    done = case.verify(jwks="jwks", since="since", checkpoint="checkpoint")

    assert (done.status, done.failed) == (INVALID, ["since"])


def test_what_is_not_given_is_fetched_from_the_coordinator(case: Case, served: str) -> None:
    done = case.verify(case.path("receipt"), "--url", served + "/", parameters="parameters", since="since")

    names = ("signature", "receipt", "result", "parameters", "miner", "inclusion", "since", "growth")
    assert (done.status, done.verdicts) == (VALID, dict.fromkeys(names, "ok"))


def test_growth_alone_is_proved_by_the_coordinator(case: Case, served: str) -> None:
    assert case.verify("--url", served, since="since").status == VALID


def test_every_file_may_be_a_url(case: Case, served: str) -> None:
    inclusion = f"{served}/v1/receipts/{case.one.receipt['id']}/inclusion"

    done = case.verify(case.path("receipt"), "--jwks", f"{served}/.well-known/jwks.json", "--inclusion", inclusion)

    assert (done.status, done.verdicts["inclusion"]) == (VALID, "ok")


def test_an_error_of_the_coordinator_is_no_verdict(case: Case, served: str) -> None:
    done = case.verify(case.path("receipt"), "--url", served, "--inclusion", f"{served}/v1/receipts/none/inclusion")

    assert done.status == UNKNOWN
    assert "404" in done.error
    assert len(done.error.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [("jwks", None), ("jwks", "no JSON"), ("parameters", None), ("result", "{"), ("inclusion", '{"a": 1, "a": 2}')],
)
def test_what_can_not_be_read_is_no_verdict(case: Case, name: str, content: str | None) -> None:
    if content is not None:
        case.write("unreadable", content)

    done = case.verify(case.path("receipt"), **{"jwks": "jwks", name: "unreadable"})

    assert (done.status, "valid" in done.output) == (UNKNOWN, False)
    assert done.error.startswith("aitbc-verify: ")


@pytest.mark.parametrize("content", ['{"no": "receipt"}', '{"receipt": null}', "{", '{"proof": 5}'])
def test_a_file_without_a_receipt_is_no_verdict(case: Case, content: str) -> None:
    assert case.verify(case.write("other", content), jwks="jwks").status == UNKNOWN


@pytest.mark.parametrize("content", ['{"no": "checkpoint"}', "{", '{"checkpoint": 5}'])
def test_a_file_without_a_checkpoint_is_no_verdict(case: Case, content: str) -> None:
    case.write("since", content)

    assert case.verify(jwks="jwks", since="since", checkpoint="checkpoint").status == UNKNOWN


def test_a_coordinator_that_is_not_there_is_no_verdict(case: Case) -> None:
    done = case.verify(case.path("receipt"), "--url", "http://127.0.0.1:1")

    assert (done.status, done.output) == (UNKNOWN, "")


def test_a_server_that_speaks_no_http_is_no_verdict(case: Case) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(b"220 mail\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        done = case.verify(case.path("receipt"), "--url", f"http://127.0.0.1:{listening.getsockname()[1]}")
        thread.join()

    assert (done.status, done.output) == (UNKNOWN, "")


def test_an_address_that_is_none_is_no_verdict(case: Case) -> None:
    done = case.verify(case.path("receipt"), "--url", "http://127.0.0.1:port")

    assert (done.status, done.output) == (UNKNOWN, "")


def test_what_was_found_false_stays_so_whatever_can_not_be_read(case: Case) -> None:
    case.write("result", {"another": "result"})

    done = case.verify(case.path("receipt"), jwks="jwks", result="result", inclusion="nowhere")

    assert (done.status, done.failed) == (INVALID, ["result"])
    assert done.output.endswith("NOT VALID: result\n")
    assert done.error.startswith("aitbc-verify: ")


@pytest.mark.parametrize(("name", "value"), [("miner_address", "another"), ("attempt", 7), ("iss", "another")])
def test_whatever_is_signed_can_not_be_shown_otherwise(case: Case, name: str, value: Any) -> None:
    done = case.verify(case.write("shown", {**case.one.receipt, name: value}), jwks="jwks")

    assert (done.status, done.failed) == (INVALID, ["receipt"])


def test_whoever_asks_for_growth_is_not_told_valid_without_it(case: Case) -> None:
    done = case.verify(case.path("receipt"), jwks="jwks", since="since")

    assert done.status == UNKNOWN
    assert "--checkpoint" in done.error


@pytest.mark.parametrize("arguments", [[], ["--jwks", "keys"], ["receipt", "--unknown"]])
def test_a_wrong_command_line_is_no_verdict(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == UNKNOWN


def test_a_forged_receipt_can_not_write_to_the_terminal(case: Case) -> None:
    forged = {**case.one.receipt, "unit_type": "\x1b[2Jtokens\nvalid"}

    done = case.verify(case.write("forged", forged), jwks="jwks")

    assert "\x1b" not in done.output
    assert done.output.splitlines().count("valid") == 0


def test_it_needs_nothing_but_two_packages(case: Case) -> None:
    script = (
        "import sys; sys.argv[0] = 'aitbc-verify'; from aitbc_verify.command import main; status = main(sys.argv[1:])\n"
        "found = {(getattr(m, '__file__', None) or '').partition('site-packages/')[2].split('/')[0] for m in "
        "list(sys.modules.values())}\n"
        "print('packages', *sorted(found)); sys.exit(status)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, case.path("receipt"), "--jwks", case.path("jwks")],
        cwd=ROOT / "layers/shared",
        env={},
        capture_output=True,
        text=True,
        check=False,
    )

    packages = {name for name in done.stdout.splitlines()[-1].split()[1:] if "_distutils" not in name}
    assert done.returncode == VALID, done.stderr
    assert {name.partition(".")[0] for name in packages} <= {"cryptography", "rfc8785", "_cffi_backend"}


def test_it_is_installed_as_a_command_with_what_it_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["aitbc-verify"].partition(":")

    assert getattr(import_module(module), function) is main
    assert [need.partition(">")[0] for need in project["optional-dependencies"]["verify"]] == [
        "cryptography",
        "rfc8785",
    ]


def test_it_runs_as_a_module(case: Case) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "aitbc_verify", case.path("receipt"), "--jwks", case.path("jwks")],
        cwd=ROOT / "layers/shared",
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout.splitlines()[-1]) == (VALID, "valid")
