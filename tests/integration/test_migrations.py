from pathlib import Path

from alembic.script import ScriptDirectory

from coordinator.migrations import HEAD
from coordinator.migrations.upgrade import alembic_config
from local.template import read_template

TEMPLATE = Path(__file__).parents[2] / "template.yaml"


def test_head_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == HEAD


def test_a_new_schema_changes_the_resource_that_migrates() -> None:
    # CloudFormation sends an Update only when a property of the resource has changed.
    [migration] = read_template(TEMPLATE).custom_resources

    assert migration.properties == {"Revision": HEAD}
