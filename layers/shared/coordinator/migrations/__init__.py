"""The schema's history (Alembic). Only the migration function and developers' commands import Alembic."""

# The newest revision; `GET /health/ready` compares it without Alembic, and a test compares it with Alembic.
HEAD = "0011"
