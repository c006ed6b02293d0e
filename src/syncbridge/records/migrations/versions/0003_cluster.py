"""Newest states written behind the live store, facts that wait to be told, and who tells them.

Expands only: the program before this one works with the tables as they are after it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

serves_from = "0002"
"""Since which revision programs work with the tables that this step leaves."""

_ID = sa.String(64)


def upgrade() -> None:
    """What many nodes share beside the live store is there."""
    op.create_table(
        "log_snapshots",
        sa.Column("session", _ID, nullable=False),
        sa.Column("account", _ID, nullable=False),
        sa.Column("epoch", _ID, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("session", name="pk_log_snapshots"),
    )
    op.create_index("ix_log_snapshots_account", "log_snapshots", ["account"])
    op.create_index("ix_log_snapshots_expires_at", "log_snapshots", ["expires_at"])
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False, autoincrement=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(80), nullable=False),
        sa.Column("account", _ID, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_account", "outbox", ["account"])
    op.create_table(
        "leases",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("holder", sa.String(80), nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.create_table(
        "schema_steps",
        sa.Column("revision", sa.String(32), nullable=False),
        sa.Column("serves_from", sa.String(32), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("revision", name="pk_schema_steps"),
    )


def downgrade() -> None:
    """None of it is."""
    for table in ("schema_steps", "leases", "outbox", "log_snapshots"):
        op.drop_table(table)
