"""jobs, miners, receipts and keys."""

import sqlalchemy as sa
from alembic import op

from coordinator.migrations.ddl import ascii_text, where

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", ascii_text(36), nullable=False),
        sa.Column("digest", ascii_text(64), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("api_keys_pk")),
        sa.UniqueConstraint("digest", name=op.f("api_keys_digest_key")),
    )
    op.create_table(
        "attempts",
        sa.Column("job_id", ascii_text(36), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("miner_id", ascii_text(36), nullable=False),
        sa.Column("lease_token", ascii_text(36), nullable=False),
        sa.Column("started_us", sa.BigInteger(), nullable=False),
        sa.Column("lease_expires_us", sa.BigInteger(), nullable=False),
        sa.Column("deadline_us", sa.BigInteger(), nullable=False),
        sa.Column("progress_percent", sa.Float(), nullable=False),
        sa.Column("progress_message", sa.String(), nullable=True),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("answer_sha256", ascii_text(64), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "attempt", name=op.f("attempts_pk")),
    )
    op.create_index("attempts_cancelled", "attempts", ["miner_id", "ended_us"], **where("outcome = 'cancelled'"))
    op.create_index("attempts_expiry", "attempts", ["lease_expires_us"], **where("ended_us IS NULL"))
    op.create_index("attempts_held", "attempts", ["miner_id"], **where("ended_us IS NULL"))
    op.create_index("attempts_one_live", "attempts", ["job_id"], unique=True, **where("ended_us IS NULL"))

    op.create_table(
        "job_classes",
        sa.Column("id", ascii_text(64), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("requirements", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("job_classes_pk")),
        sa.UniqueConstraint("number", name=op.f("job_classes_number_key")),
    )

    op.create_table(
        "jobs",
        sa.Column("id", ascii_text(36), nullable=False),
        sa.Column("client_id", ascii_text(36), nullable=False),
        sa.Column("class_id", ascii_text(64), nullable=False),
        sa.Column("job_type", sa.String(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("max_price_atoms", sa.BigInteger(), nullable=False),
        sa.Column("ttl_seconds", sa.Integer(), nullable=False),
        sa.Column("timeout_seconds", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.SmallInteger(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("miner_id", ascii_text(36), nullable=True),
        sa.Column("price_atoms", sa.BigInteger(), nullable=True),
        sa.Column("error_code", sa.String(), nullable=True),
        sa.Column("error_message", sa.String(), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("started_us", sa.BigInteger(), nullable=True),
        sa.Column("completed_us", sa.BigInteger(), nullable=True),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.Column("constraints", sa.Text(), nullable=False),
        sa.Column("parameters_sha256", ascii_text(64), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("jobs_pk")),
    )
    op.create_index("jobs_of_client", "jobs", ["client_id", "id"])
    op.create_index(
        "jobs_queue",
        "jobs",
        ["class_id", sa.text("priority DESC"), sa.text("max_price_atoms DESC"), "id"],
        **where("status = 'pending'"),
    )
    op.create_index("jobs_unfinished", "jobs", ["expires_us"], **where("status IN ('pending', 'running')"))

    op.create_table(
        "miners",
        sa.Column("id", ascii_text(36), nullable=False),
        sa.Column("owner_id", ascii_text(36), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("endpoint", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=True),
        sa.Column("region", sa.String(), nullable=True),
        sa.Column("capabilities", sa.Text(), nullable=False),
        sa.Column("hardware", sa.Text(), nullable=False),
        sa.Column("profile_sha256", ascii_text(64), nullable=False),
        sa.Column("price_atoms", sa.BigInteger(), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=False),
        sa.Column("public_key", sa.String(), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("registered", sa.Boolean(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("last_heartbeat_us", sa.BigInteger(), nullable=False),
        sa.Column("last_assigned_us", sa.BigInteger(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("miners_pk")),
        sa.UniqueConstraint("owner_id", "address", "endpoint", name=op.f("miners_owner_id_address_endpoint_key")),
    )
    op.create_index("miners_active", "miners", ["last_heartbeat_us"], **where("status = 'active'"))
    op.create_index(
        "miners_by_profile",
        "miners",
        ["profile_sha256", "price_atoms", "last_heartbeat_us"],
        **where("status = 'active'"),
    )

    op.create_table(
        "receipts",
        sa.Column("id", ascii_text(36), nullable=False),
        sa.Column("job_id", ascii_text(36), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("miner_id", ascii_text(36), nullable=False),
        sa.Column("client_id", ascii_text(36), nullable=False),
        sa.Column("result_sha256", ascii_text(64), nullable=False),
        sa.Column("parameters_sha256", ascii_text(64), nullable=False),
        sa.Column("units", sa.Float(), nullable=False),
        sa.Column("unit_type", sa.String(), nullable=False),
        sa.Column("price_atoms", sa.BigInteger(), nullable=False),
        sa.Column("started_us", sa.BigInteger(), nullable=False),
        sa.Column("completed_us", sa.BigInteger(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("proof", sa.Text(), nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("receipts_pk")),
        sa.UniqueConstraint("job_id", name=op.f("receipts_job_id_key")),
    )
    op.create_index("receipts_of_miner", "receipts", ["miner_id", "id"])

    op.create_table(
        "signing_keys",
        sa.Column("kid", ascii_text(64), nullable=False),
        sa.Column("jwk", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kid", name=op.f("signing_keys_pk")),
    )
