"""The docs name only what exists, and the check of a receipt that they give to users works."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.request import Request

import pytest

from coordinator.http.errors import STATUS_OF
from local.template import read_template
from tests.api import Api

ROOT = Path(__file__).parents[2]
# Decisions also name what was rejected.
GUIDES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
PAGES = [*GUIDES, *ROOT.glob("docs/decisions/*.md")]
FOLDERS = (".ci", "docs", "functions", "layers", "local", "requirements", "tests")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
each_guide = pytest.mark.parametrize("page", GUIDES, ids=lambda page: str(page.relative_to(ROOT)))


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text()):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), anchor


@each_guide
def test_paths_exist(page: Path) -> None:
    named = [path for path in re.findall(r"`([\w./-]+)`", page.read_text()) if path.startswith(FOLDERS) and "/" in path]

    assert [path for path in named if not (ROOT / path).exists()] == []


@each_guide
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert set(re.findall(r"(?:^|`|[A-Z]=\S+ )make ([a-z-]+)", page.read_text(), re.MULTILINE)) <= targets


def test_the_configuration_table_has_all_variables_and_no_others() -> None:
    table = (ROOT / "README.md").read_text().split("## Configuration")[1].split("\n## ")[0]
    documented = {name for row in table.splitlines() for name in re.findall(r"`([A-Z_]+)`", row.split(" | ")[0])}
    declared = {name for f in read_template(ROOT / "template.yaml").functions.values() for name in f.variables}
    read_locally = re.findall(r'environment\.get\("([A-Z_]+)"', (ROOT / "local/options.py").read_text())

    assert documented == declared.union(read_locally)


@pytest.mark.parametrize(
    ("page", "source"), [("docs/miner.md", "local/miner/__main__.py"), ("docs/emulator.md", "local/options.py")]
)
def test_all_options_are_documented_and_no_others(page: str, source: str) -> None:
    documented = set(re.findall(r"`(--[a-z-]+)", (ROOT / page).read_text()))

    assert documented == set(re.findall(r'"(--[a-z-]+)"', (ROOT / source).read_text()))


def test_all_error_codes_are_documented() -> None:
    text = "".join(page.read_text() for page in GUIDES)

    assert [code for code in STATUS_OF if f"`{code}`" not in text] == []


@pytest.mark.parametrize("changed", [None, "result", "parameters", "job_id", "proof"])
def test_the_users_script_verifies_a_receipt_and_only_that(
    client: Api, miner: Api, tmp_path: Path, changed: str | None
) -> None:
    job = {"job_type": "llm_inference", "parameters": {"prompt": "The capital of France is", "temperature": 0.5}}
    job_id = client.submit(**job)["id"]
    miner.register()
    miner.answer(miner.poll()[0])
    answer = client.get(f"/v1/client/jobs/{job_id}/result").json
    if changed == "result":
        answer["result"]["text"] = "Rome"
    elif changed == "parameters":
        job["parameters"] = {"prompt": "The capital of Italy is"}
    elif changed == "job_id":
        answer["job_id"] = answer["receipt"]["id"]
    elif changed == "proof":
        header, payload, signature = answer["receipt"]["proof"].split(".")
        answer["receipt"]["proof"] = f"{header}.{payload}.{signature[::-1]}"
    files = {"job": job, "answer": answer, "jwks": client.get("/.well-known/jwks.json").json}
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    script = re.findall(r"```python\n(.*?)```", (ROOT / "docs/verify.md").read_text(), re.DOTALL)[0]

    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (done.returncode == 0, done.stdout) == ((True, "verified\n") if changed is None else (False, ""))


def test_the_users_script_logs_in_and_prints_a_token_and_a_key_that_work(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def urlopen(request: Request) -> io.StringIO:
        assert isinstance(request.data, bytes)
        path = request.full_url.removeprefix("http://127.0.0.1:8000")
        sent = {name.lower(): value for name, value in request.headers.items()}
        return io.StringIO(api.call("POST", path, raw=request.data.decode(), headers=sent).text)

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    script = re.findall(r"```python\n(.*?)```", (ROOT / "docs/user.md").read_text(), re.DOTALL)[0]

    exec(script, {})

    token, key = capsys.readouterr().out.splitlines()
    assert api.call("GET", "/v1/users/me", headers={"x-session-token": token}).status == 200
    assert api.as_(key).get("/v1/client/jobs").status == 200
