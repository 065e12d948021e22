"""several digests an owner."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    with op.batch_alter_table("api_keys") as table:
        table.drop_constraint(op.f("api_keys_pk"), type_="primary")
        table.drop_constraint(op.f("api_keys_digest_key"), type_="unique")
        table.create_primary_key(op.f("api_keys_pk"), ["digest"])
