"""The tables of the records, as SQLAlchemy Core knows them; `migrations` makes them.

Times are integers: milliseconds since the Unix epoch, server time. Every column type means the same in SQLite and
in PostgreSQL. Nothing secret is stored in a form that can be used: passwords are argon2id hashes, refresh tokens
and one-time codes are digests. The one exception is `signing_keys`, which is why the data directory is 0700.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

Id = String(64)

accounts = Table(
    "accounts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("email", String(254), nullable=False, unique=True),  # trimmed and in lower case
    Column("password_hash", String(256), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("plan", String(32), nullable=False, server_default="standard"),  # a name of the configuration's plans
)

identities = Table(
    "identities",
    metadata,
    # Who somebody is at an issuer outside, whose tokens we take: the account is theirs.
    Column("issuer", String(255), primary_key=True),
    Column("subject", String(255), primary_key=True),
    Column("account", Id, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
)

devices = Table(
    "devices",
    metadata,
    Column("account", Id, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("id", Id, primary_key=True),  # the device's own choice, so it means something within its account only
    Column("name", String(100), nullable=False),  # what the device says of itself
    Column("given_name", String(100)),  # what a person calls it; a hello does not change it
    Column("platform", String(100), nullable=False),
    Column("capabilities", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    # Set when a person removed it. Kept, so that a token from a log-in before that moment cannot bring it back.
    Column("removed_at", BigInteger),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account", Id, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("type", String(64), nullable=False),
    Column("title", String(200), nullable=False),
    Column("settings", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # What follows is derived from the log and may lag behind it for a moment.
    Column("status", String(16), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("active", Id),
    Column("updated_at", BigInteger, nullable=False),
)
Index("ix_sessions_account_created_at_id", sessions.c.account, sessions.c.created_at, sessions.c.id)

snapshots = Table(
    "snapshots",
    metadata,
    Column("id", Id, primary_key=True),
    Column("session", Id, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("label", String(100), nullable=False),
    Column("epoch", Id, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),  # JSON, as bytes: read back exactly as it was kept
    Column("device", Id, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

token_families = Table(
    "token_families",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account", Id, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("device", Id),  # the device its tokens are bound to
    Column("session", Id),  # the one session its tokens reach
    Column("login_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("family", Id, ForeignKey("token_families.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("expires_at", BigInteger, nullable=False, index=True),
    Column("used_at", BigInteger),
)

revocations = Table(
    "revocations",
    metadata,
    Column("subject", String(80), primary_key=True),  # see records.revocations
    Column("expires_at", BigInteger, nullable=False, index=True),  # when the last token it covers is void anyway
    # When it was written, and its place in the order of writing: other processes ask for what is new.
    # 0 in rows of the first release.
    Column("created_at", BigInteger, nullable=False, server_default="0", index=True),
    Column("before", BigInteger),  # of an account: log-ins up to this moment
    Column("kept", Id),  # and the one log-in among them that stays
)

pairing_codes = Table(
    "pairing_codes",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("account", Id, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("session", Id, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
    Column("used_at", BigInteger),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", Id, primary_key=True),
    Column("secret", LargeBinary, nullable=False),
    Column("ordinal", Integer, nullable=False, unique=True),  # 1, 2, 3: two nodes that start at once agree on one key
    Column("created_at", BigInteger, nullable=False),
    Column("signs_from", BigInteger, nullable=False, server_default="0"),  # known to all nodes before it signs
    Column("retired_at", BigInteger),  # from then on its tokens are refused; may lie ahead
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("account", Id, ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String(128), primary_key=True),  # the caller's choice
    Column("request", LargeBinary(32), nullable=False),  # digest of method, path and body: one key, one request
    Column("status", Integer),  # the answer; none of it while the request is under way
    Column("headers", JSON),
    Column("body", LargeBinary),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
)

erasures = Table(
    "erasures",
    metadata,
    Column("account", Id, primary_key=True),  # a random id: nothing of the person is left in it
    Column("requested_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),  # none: to be gone on with at the next start
    Column("receipt", JSON),
)

moments = Table(
    "moments",
    metadata,
    Column("name", String(32), primary_key=True),  # what was done
    Column("at", BigInteger, nullable=False),  # when last
)

incidents = Table(
    "incidents",
    metadata,
    # What befell a session beside its log (a device came, went, was refused): for "why was my progress lost?".
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("session", Id, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("device", Id, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("code", String(64), nullable=False),
    Column("detail", JSON, nullable=False),
    Index("ix_incidents_session_id", "session", "id"),
)

log_snapshots = Table(
    "log_snapshots",
    metadata,
    # The newest state of a session's log, written behind the live store: from it a lost one is rebuilt.
    Column("session", Id, primary_key=True),
    Column("account", Id, nullable=False, index=True),
    Column("epoch", Id, nullable=False),
    Column("generation", Integer, nullable=False),  # how often that log had been rebuilt: the order of epochs
    Column("version", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),  # when that version was committed
    Column("expires_at", BigInteger, nullable=False, index=True),
    Column("body", LargeBinary, nullable=False),  # the whole snapshot, encoded
)

outbox = Table(
    "outbox",
    metadata,
    # Facts about accounts that wait to be told to the broker, written with the change itself.
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("type", String(64), nullable=False),
    Column("subject", String(80), nullable=False),  # what it is about; facts about one are told in order
    Column("account", Id, nullable=False, index=True),
    Column("data", JSON, nullable=False),
    # No number is given twice: what settles a fact that was told must not take the next one with it.
    sqlite_autoincrement=True,
)

leases = Table(
    "leases",
    metadata,
    # Who does what only one may do at a time; ``fence`` grows with each change of holder.
    Column("name", String(64), primary_key=True),
    Column("holder", String(80), nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

schema_steps = Table(
    "schema_steps",
    metadata,
    # The steps that this schema came of, and since which revision programs work with the tables that each left.
    Column("revision", String(32), primary_key=True),
    Column("serves_from", String(32), nullable=False),
    Column("at", BigInteger, nullable=False),  # when it was noticed
)
