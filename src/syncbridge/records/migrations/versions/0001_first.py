"""Accounts, devices, sessions, snapshots, tokens, one-time codes and signing keys.

Written out, not taken from `schema`: what a released step made must not change when the schema goes on.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

serves_from = "0001"
"""Since which revision programs work with the tables that this step leaves."""

_ID = sa.String(64)


def upgrade() -> None:
    """Every table of the first release is there."""
    op.create_table(
        "accounts",
        sa.Column("id", _ID, nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("password_hash", sa.String(256), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_accounts"),
        sa.UniqueConstraint("email", name="uq_accounts_email"),
    )
    op.create_table(
        "devices",
        sa.Column("account", _ID, nullable=False),
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("given_name", sa.String(100)),
        sa.Column("platform", sa.String(100), nullable=False),
        sa.Column("capabilities", sa.JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.Column("removed_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("account", "id", name="pk_devices"),
        _cascade("devices", "account", "accounts"),
    )
    op.create_table(
        "sessions",
        sa.Column("id", _ID, nullable=False),
        sa.Column("account", _ID, nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("active", _ID),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        _cascade("sessions", "account", "accounts"),
    )
    op.create_index("ix_sessions_account_created_at_id", "sessions", ["account", "created_at", "id"])
    op.create_table(
        "snapshots",
        sa.Column("id", _ID, nullable=False),
        sa.Column("session", _ID, nullable=False),
        sa.Column("label", sa.String(100), nullable=False),
        sa.Column("epoch", _ID, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("state", sa.LargeBinary, nullable=False),
        sa.Column("device", _ID, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_snapshots"),
        _cascade("snapshots", "session", "sessions"),
    )
    op.create_index("ix_snapshots_session", "snapshots", ["session"])
    op.create_table(
        "token_families",
        sa.Column("id", _ID, nullable=False),
        sa.Column("account", _ID, nullable=False),
        sa.Column("device", _ID),
        sa.Column("session", _ID),
        sa.Column("login_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_token_families"),
        _cascade("token_families", "account", "accounts"),
    )
    op.create_index("ix_token_families_account", "token_families", ["account"])
    op.create_table(
        "refresh_tokens",
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("family", _ID, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("digest", name="pk_refresh_tokens"),
        _cascade("refresh_tokens", "family", "token_families"),
    )
    op.create_index("ix_refresh_tokens_family", "refresh_tokens", ["family"])
    op.create_index("ix_refresh_tokens_expires_at", "refresh_tokens", ["expires_at"])
    op.create_table(
        "revocations",
        sa.Column("subject", sa.String(80), nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("subject", name="pk_revocations"),
    )
    op.create_index("ix_revocations_expires_at", "revocations", ["expires_at"])
    op.create_table(
        "pairing_codes",
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("account", _ID, nullable=False),
        sa.Column("session", _ID, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("digest", name="pk_pairing_codes"),
        _cascade("pairing_codes", "account", "accounts"),
        _cascade("pairing_codes", "session", "sessions"),
    )
    op.create_index("ix_pairing_codes_session", "pairing_codes", ["session"])
    op.create_index("ix_pairing_codes_expires_at", "pairing_codes", ["expires_at"])
    op.create_table(
        "signing_keys",
        sa.Column("kid", _ID, nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("retired_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("kid", name="pk_signing_keys"),
        sa.UniqueConstraint("ordinal", name="uq_signing_keys_ordinal"),
    )


def downgrade() -> None:
    """None of them is."""
    for table in (
        "signing_keys",
        "pairing_codes",
        "revocations",
        "refresh_tokens",
        "token_families",
        "snapshots",
        "sessions",
        "devices",
        "accounts",
    ):
        op.drop_table(table)


def _cascade(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=f"fk_{table}_{column}", ondelete="CASCADE")
