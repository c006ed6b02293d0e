"""Plans, outside identities, keys that follow each other, idempotency keys, erasures and incidents.

Expands only: the program before this one works with the tables as they are after it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

serves_from = "0001"
"""Since which revision programs work with the tables that this step leaves."""

_ID = sa.String(64)


def upgrade() -> None:
    """What the whole service keeps beside the first release's tables is there."""
    op.add_column("accounts", sa.Column("plan", sa.String(32), nullable=False, server_default="standard"))
    op.add_column("signing_keys", sa.Column("signs_from", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("revocations", sa.Column("created_at", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("revocations", sa.Column("before", sa.BigInteger))
    op.add_column("revocations", sa.Column("kept", _ID))
    op.create_index("ix_revocations_created_at", "revocations", ["created_at"])
    op.create_table(
        "identities",
        sa.Column("issuer", sa.String(255), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("account", _ID, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("issuer", "subject", name="pk_identities"),
        _cascade("identities", "account", "accounts"),
    )
    op.create_index("ix_identities_account", "identities", ["account"])
    op.create_table(
        "idempotency_keys",
        sa.Column("account", _ID, nullable=False),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("request", sa.LargeBinary(32), nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("headers", sa.JSON),
        sa.Column("body", sa.LargeBinary),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("account", "key", name="pk_idempotency_keys"),
        _cascade("idempotency_keys", "account", "accounts"),
    )
    op.create_index("ix_idempotency_keys_expires_at", "idempotency_keys", ["expires_at"])
    op.create_table(
        "erasures",
        sa.Column("account", _ID, nullable=False),
        sa.Column("requested_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("receipt", sa.JSON),
        sa.PrimaryKeyConstraint("account", name="pk_erasures"),
    )
    op.create_table(
        "moments",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_moments"),
    )
    op.create_table(
        "incidents",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), autoincrement=True, nullable=False),
        sa.Column("session", _ID, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("device", _ID, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_incidents"),
        _cascade("incidents", "session", "sessions"),
    )
    op.create_index("ix_incidents_session_id", "incidents", ["session", "id"])


def downgrade() -> None:
    """None of it is."""
    for table in ("incidents", "moments", "erasures", "idempotency_keys", "identities"):
        op.drop_table(table)
    op.drop_index("ix_revocations_created_at", "revocations")
    for column in ("kept", "before", "created_at"):
        op.drop_column("revocations", column)
    op.drop_column("signing_keys", "signs_from")
    op.drop_column("accounts", "plan")


def _cascade(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=f"fk_{table}_{column}", ondelete="CASCADE")
