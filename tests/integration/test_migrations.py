from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from coordinator.migrations import HEAD
from coordinator.migrations.upgrade import alembic_config
from local.template import read_template
from tests.api import forget_process_state

TEMPLATE = Path(__file__).parents[2] / "template.yaml"


def test_head_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == HEAD


def test_a_new_schema_changes_the_resource_that_migrates() -> None:
    # CloudFormation sends an Update only when a property of the resource has changed.
    [migration] = read_template(TEMPLATE).custom_resources

    assert migration.properties == {"Revision": HEAD}


def test_a_wrong_variable_is_named_to_cloudformation_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from migrate.app import handler

    monkeypatch.setenv("DATABASE_URL", "sqlite:///never-opened.db")
    monkeypatch.setenv("SECRET_KEY", "short")
    forget_process_state()

    answer = handler({"RequestType": "Create"}, None)

    assert (answer["Status"], answer["Reason"]) == ("FAILED", "SECRET_KEY must be at least 32 random characters")
    assert capsys.readouterr().out == ""
