"""PostgreSQL over TLS: by the names that libpq has for it, and with an authority of one's own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from sqlalchemy import make_url

from deploy.local.postgres import Postgres
from syncbridge.errors import Unavailable
from syncbridge.records.database import Database
from syncbridge.records.engines import tls_of
from syncbridge.records.faults import Reason

pytestmark = pytest.mark.usefixtures("patient")

URL = "postgresql+asyncpg://u:p@h/d"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    # In a folder of its own: pytest's are shut to the user that PostgreSQL runs as.
    with tempfile.TemporaryDirectory(prefix="syncbridge-postgres-") as made:
        yield Path(made)


@pytest.fixture(scope="module")
def authority(folder: Path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(folder / "authority.pem")
    trustme.CA().cert_pem.write_to_path(folder / "another.pem")
    made.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return made


@pytest.fixture(scope="module")
def server(folder: Path, authority: trustme.CA) -> Iterator[Postgres]:
    """A server whose certificate is for `localhost`."""
    server = Postgres(folder / "server", certificate=folder / "server.pem")
    server.start()
    yield server
    server.stop()


async def answer(url: str) -> bool | Reason:
    """Whether the connection is encrypted, or why there is none."""
    database, why = Database(url, pool_size=1), list[Reason]()
    database.on_fault = why.append
    try:
        async with database.reading() as connection:
            row = await connection.exec_driver_sql("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            return bool(row.scalar_one())
    except Unavailable:
        return why[0]
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("host", "query", "found"),
    [
        ("localhost", "sslrootcert=authority.pem", True),
        ("localhost", "sslmode=verify-full&sslrootcert=authority.pem", True),
        ("127.0.0.1", "sslmode=verify-full&sslrootcert=authority.pem", "untrusted"),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert=authority.pem", True),
        ("127.0.0.1", "sslmode=require&sslrootcert=authority.pem", True),
        ("localhost", "sslmode=require&sslrootcert=another.pem", "untrusted"),
        ("localhost", "sslmode=verify-full", "untrusted"),
        ("127.0.0.1", "sslmode=require", True),
        ("127.0.0.1", "sslmode=disable", False),
        ("127.0.0.1", "ssl=disable", False),
        ("127.0.0.1", "", True),
    ],
)
async def test_a_server_is_talked_to_as_far_as_it_is_trusted(
    server: Postgres, folder: Path, host: str, query: str, found: bool | Reason
) -> None:
    url = server.url.replace("127.0.0.1", host)
    assert await answer(f"{url}?{query.replace('sslrootcert=', f'sslrootcert={folder}/')}") == found


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sslmode=always", "one sslmode of disable, allow"),
        ("ssl=disable&sslmode=require", "one sslmode"),
        ("sslrootcert=/no/such/file", "/no/such/file cannot be read: No such file"),
        ("sslrootcert=/dev/null", "/dev/null holds no certificate"),
        ("sslrootcert=/a&sslrootcert=/b", "one sslrootcert"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name_and_without_the_password(query: str, said: str) -> None:
    with pytest.raises(Unavailable, match=said) as caught:
        tls_of(make_url(f"{URL}?{query}"))
    assert "u:p" not in str(caught.value)


def test_a_url_without_a_word_of_tls_stays_as_it_is() -> None:
    url = make_url(f"{URL}?prepared_statement_cache_size=0")
    assert tls_of(url) == (url, {})
