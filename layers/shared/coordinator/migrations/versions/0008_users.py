"""users: their wallets, logins, sessions and API keys."""

import sqlalchemy as sa
from alembic import op

from coordinator.migrations.ddl import ascii_text

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", ascii_text(36), nullable=False),
        sa.Column("wallet", sa.String(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("last_login_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("users_pk")),
        sa.UniqueConstraint("wallet", name=op.f("users_wallet_key")),
    )
    op.create_table(
        "challenges",
        sa.Column("nonce", sa.String(), nullable=False),
        sa.Column("wallet", sa.String(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("nonce", name=op.f("challenges_pk")),
    )
    op.create_index("challenges_expiry", "challenges", ["expires_us"])
    op.create_table(
        "sessions",
        sa.Column("digest", ascii_text(64), nullable=False),
        sa.Column("user_id", ascii_text(36), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("sessions_pk")),
    )
    op.create_index("sessions_of_user", "sessions", ["user_id"])
    op.create_index("sessions_expiry", "sessions", ["expires_us"])
    op.create_table(
        "user_keys",
        sa.Column("id", ascii_text(36), nullable=False),
        sa.Column("user_id", ascii_text(36), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("digest", ascii_text(64), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("last_used_us", sa.BigInteger(), nullable=True),
        sa.Column("revoked_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("user_keys_pk")),
        sa.UniqueConstraint("digest", name=op.f("user_keys_digest_key")),
    )
    op.create_index("user_keys_of_user", "user_keys", ["user_id", "id"])
