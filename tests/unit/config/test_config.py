"""Configuration: where a value comes from, what is refused, and what is never shown."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from syncbridge.config import ConfigError, explain, load
from syncbridge.limits import SHIPPED_PLANS, Plan

SECRET = "canary-pw"
ISSUER = '[{"issuer": "i", "audience": "a", "jwks_url": "%s", "algorithms": ["RS256"]}]'
VAULT = {"SYNCBRIDGE_VAULT_ADDR": "https://vault.internal:8200"}
URL = f"postgresql+asyncpg://user:{SECRET}@db/records"


def test_environment_wins_over_file_and_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "syncbridge.toml"
    file.write_text('port = 1\nhost = "file"\n[limits]\nops_max = 2\njoins_max = 3\n[auth]\nissuer = "me"\n')
    settings = load(file, {"SYNCBRIDGE_PORT": "2", "SYNCBRIDGE_LIMITS__JOINS_MAX": "4"})
    assert (settings.port, settings.host, settings.limits.ops_max, settings.limits.joins_max) == (2, "file", 2, 4)
    assert (settings.auth.issuer, settings.log_level) == ("me", "info")
    sources = {
        row.key: row.source for row in explain(file, {"SYNCBRIDGE_PORT": "2", "SYNCBRIDGE_LIMITS__JOINS_MAX": "4"})
    }
    assert sources["port"] == "environment SYNCBRIDGE_PORT"
    assert sources["limits.joins_max"] == "environment SYNCBRIDGE_LIMITS__JOINS_MAX"
    assert sources["limits.ops_max"] == f"file {file}"
    assert sources["log_level"] == "default"


@pytest.mark.parametrize(
    "tail",
    [
        "",
        "?ssl=verify-full",
        "?sslmode=verify-full&sslrootcert=ca.pem",
        "?prepared_statement_cache_size=0&statement_cache_size=0",
        "?host=a:5432&host=b:5432",
    ],
)
def test_a_database_url_takes_what_its_driver_does(tail: str) -> None:
    assert load(environment={"SYNCBRIDGE_DATABASE_URL": URL + tail}).records_url == URL + tail


def test_file_is_named_by_the_environment_too(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("port = 7\n")
    assert load(environment={"SYNCBRIDGE_CONFIG": str(file)}).port == 7


def test_issuers_come_from_the_file_and_from_the_environment_as_json(tmp_path: Path) -> None:
    file = tmp_path / "syncbridge.toml"
    file.write_text('[[issuers]]\nissuer = "i"\naudience = "a"\njwks_url = "https://h/k"\nalgorithms = ["RS256"]\n')
    assert load(file, {}).issuers == load(None, {"SYNCBRIDGE_ISSUERS": ISSUER % "https://h/k"}).issuers
    assert load(None, {"SYNCBRIDGE_ISSUERS": ISSUER % "http://[::1]:9/k"}).issuers[0].algorithms == ("RS256",)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"SYNCBRIDGE_PROT": "1"}, "SYNCBRIDGE_PROT: no such key"),
        ({"SYNCBRIDGE_LIMITS__DEVICE_MAX": "1"}, "SYNCBRIDGE_LIMITS__DEVICE_MAX: no such key"),
        ({"SYNCBRIDGE_SERVICE_HOST": "10.0.0.1"}, "enableServiceLinks"),
        ({"SYNCBRIDGE_PORT": "tcp://10.0.0.1:80"}, "port (SYNCBRIDGE_PORT)"),
        ({"SYNCBRIDGE_PORT": "70000"}, "port (SYNCBRIDGE_PORT)"),
        ({"SYNCBRIDGE_LIMITS__JOINS_MAX": "many"}, "limits.joins_max (SYNCBRIDGE_LIMITS__JOINS_MAX)"),
        ({"SYNCBRIDGE_LIMITS__JOINS_MAX": "0"}, "joins_max"),
        ({"SYNCBRIDGE_PLANS__FREE__DEVICES_MAX": "0"}, "plans.free: expected numbers above 0: devices_max"),
        ({"SYNCBRIDGE_PLANS__FREE__DEVICES": "1"}, "SYNCBRIDGE_PLANS__FREE__DEVICES: no such key"),
        ({"SYNCBRIDGE_DEFAULT_PLAN": "gold"}, "default_plan: expected one of free, standard, got 'gold'"),
        ({"SYNCBRIDGE_LIMITS__HEARTBEAT_MS": "60000"}, "idle_timeout_ms >= 2 * heartbeat_ms"),
        ({"SYNCBRIDGE_AUTH__ACCESS_TOKEN_MS": "0"}, "access_token_ms > 0"),
        ({"SYNCBRIDGE_ALLOWED_ORIGINS": "app.example.com"}, "expected lower-case origins"),
        ({"SYNCBRIDGE_ALLOWED_ORIGINS": "https://App.example.com"}, "expected lower-case origins"),
        ({"SYNCBRIDGE_TLS_PORT": "8443"}, "need tls_certificate"),
        ({"SYNCBRIDGE_DATABASE_URL": f"mysql://user:{SECRET}@db"}, "postgresql+asyncpg"),
        ({"SYNCBRIDGE_DATABASE_URL": f"no url {SECRET}"}, "postgresql+asyncpg"),
        ({"SYNCBRIDGE_DATABASE_URL": f"postgresql+asyncpg://user:{SECRET}@db:port/records"}, "HOST[:PORT]"),
        ({"SYNCBRIDGE_DATABASE_URL": f"postgresql+asyncpg://user:{SECRET}@db:99999/records"}, "HOST[:PORT]"),
        ({"SYNCBRIDGE_DATABASE_URL": f"{URL}?sslcert=c.pem"}, "no such parameter: 'sslcert'; there are direct_tls"),
        (
            {"SYNCBRIDGE_DATABASE_URL": f"postgresql+asyncpg://user:a@b?{SECRET}=c@db/records"},
            "in a password / is %2F and @ is %40",
        ),
        ({"SYNCBRIDGE_DATABASE_URL": f"postgresql+asyncpg://u:a/b@{SECRET}@db/records"}, "in a password / is %2F"),
        ({"SYNCBRIDGE_DATABASE_URL": f"{URL}?statement_cache_size=no"}, "a number for statement_cache_size"),
        (
            {"SYNCBRIDGE_DATABASE_URL": f"postgresql+asyncpg://db/records?password={SECRET}"},
            "The password stands before the host",
        ),
        (
            {"SYNCBRIDGE_REDIS_URL": f"http://user:{SECRET}@redis"},
            "redis_url (SYNCBRIDGE_REDIS_URL): expected redis://",
        ),
        ({"SYNCBRIDGE_REDIS_URL": f"redis://user:{SECRET}@redis:port"}, "expected redis://"),
        ({"SYNCBRIDGE_REDIS_URL": "redis://"}, "[USER:PASSWORD@]HOST[:PORT]"),
        ({"SYNCBRIDGE_REDIS_URL": f"redis://:{SECRET}/+=@redis"}, "in a password / is %2F and @ is %40"),
        ({"SYNCBRIDGE_AMQP_URL": f"amqp://user:{SECRET}/+=@rabbit"}, "in a password / is %2F and @ is %40"),
        ({"SYNCBRIDGE_REDIS_ACKS": "all"}, "redis_acks (SYNCBRIDGE_REDIS_ACKS)"),
        ({"SYNCBRIDGE_AMQP_URL": f"user:{SECRET}@rabbit"}, "amqp_url (SYNCBRIDGE_AMQP_URL): expected amqp://"),
        ({"SYNCBRIDGE_NODE_NAME": "node/1"}, "node_name (SYNCBRIDGE_NODE_NAME): expected letters, digits"),
        ({"SYNCBRIDGE_WORKERS": "0"}, "workers (SYNCBRIDGE_WORKERS)"),
        ({"SYNCBRIDGE_WORKERS": "2"}, "only over redis_url and a postgresql+asyncpg database_url; set that"),
        (
            {"SYNCBRIDGE_WORKERS": "2", "SYNCBRIDGE_REDIS_URL": "redis://r"},
            "over a postgresql+asyncpg database_url",
        ),
        (
            {"SYNCBRIDGE_WORKERS": "2", "SYNCBRIDGE_DATABASE_URL": URL},
            "one world only over redis_url;",
        ),
        (
            {
                "SYNCBRIDGE_WORKERS": "2",
                "SYNCBRIDGE_DATABASE_URL": URL,
                "SYNCBRIDGE_REDIS_URL": "redis://r",
                "SYNCBRIDGE_METRICS_PORT": "9464",
                "SYNCBRIDGE_PORT": "0",
            },
            "set port",
        ),
        (
            {"SYNCBRIDGE_WORKERS": "2", "SYNCBRIDGE_DATABASE_URL": URL, "SYNCBRIDGE_REDIS_URL": "redis://r"},
            "set metrics_port, of the first worker",
        ),
        ({"SYNCBRIDGE_ISSUERS": "[{"}, "issuers (SYNCBRIDGE_ISSUERS): expected a JSON array"),
        ({"SYNCBRIDGE_ISSUERS": ISSUER % "http://issuer.example/keys"}, "expected https://HOST/PATH"),
        ({"SYNCBRIDGE_ISSUERS": ISSUER % "file:///etc/passwd"}, "expected https://HOST/PATH"),
        ({"SYNCBRIDGE_ISSUERS": ISSUER % f"https://u:{SECRET}@h/keys"}, "without user"),
        ({"SYNCBRIDGE_ISSUERS": (ISSUER % "https://h/k").replace("RS256", "HS256")}, "expected some of RS256"),
        ({"SYNCBRIDGE_ISSUERS": (ISSUER % "https://h/k").replace('"i"', '"syncbridge"')}, "a name of its own"),
        ({"SYNCBRIDGE_AUTH__KEY_LEAD_MS": "10000"}, "key_lead_ms >= 2 * key_refresh_ms"),
        ({"SYNCBRIDGE_VAULT_ADDR": "vault.internal:8200"}, "expected an address like https://vault.internal:8200"),
        ({"SYNCBRIDGE_VAULT_TOKEN": SECRET}, "vault_token needs vault_addr"),
        ({"SYNCBRIDGE_REDIS_CA_FILE": "ca.pem"}, "redis_ca_file is for TLS"),
        (
            {"SYNCBRIDGE_REDIS_CA_FILE": "ca.pem", "SYNCBRIDGE_REDIS_URL": f"redis://:{SECRET}@h"},
            "an address that begins with rediss",
        ),
        (
            {"SYNCBRIDGE_AMQP_CA_FILE": "ca.pem", "SYNCBRIDGE_AMQP_URL": f"amqp://u:{SECRET}@h/"},
            "an address that begins with amqps",
        ),
        ({"SYNCBRIDGE_VAULT__METHOD": "aws"}, "expected one of token, approle, kubernetes, got 'aws'"),
        ({"SYNCBRIDGE_VAULT__METHOD": "approle"}, "needs vault.role_id, vault.secret_id_file"),
        ({"SYNCBRIDGE_VAULT__JWT_PATH": "../sys/seal"}, "vault.jwt_path: expected a path like harmonyflow/jwt"),
        ({"SYNCBRIDGE_VAULT__JWT_PATH": "jwt?version=1"}, "vault.jwt_path: expected a path"),
        ({"SYNCBRIDGE_VAULT__PKI_ROLE": "syncbridge"}, "vault.pki_role needs vault.pki_name"),
        ({"SYNCBRIDGE_VAULT__POLL_MS": "0"}, "vault.poll_ms: expected a number above 0"),
        (
            {**VAULT, "JWT_SECRET": SECRET},
            "the signing keys can come from one place, got vault.jwt_path and jwt_secret",
        ),
        ({"JWT_SECRET": SECRET, "SYNCBRIDGE_JWT_SECRET_FILE": "k"}, "got jwt_secret_file and jwt_secret"),
        ({"JWT_SECRET": SECRET, "SYNCBRIDGE_JWT_SECRET": "x"}, "JWT_SECRET and SYNCBRIDGE_JWT_SECRET are both set"),
        ({"SYNCBRIDGE_DATABASE_PASSWORD_FILE": "p"}, "need database_url"),
        ({"SYNCBRIDGE_REDIS_PASSWORD_FILE": "p"}, "need redis_url"),
        ({**VAULT, "SYNCBRIDGE_VAULT__AMQP_PATH": "p"}, "need amqp_url"),
        ({**VAULT, "SYNCBRIDGE_VAULT__DATABASE_ROLE": "r"}, "need database_url"),
        (
            {**VAULT, "SYNCBRIDGE_VAULT__REDIS_PATH": "r", "SYNCBRIDGE_REDIS_PASSWORD_FILE": "p"},
            "the password of Redis can come from one place, got vault.redis_path and redis_password_file",
        ),
        (
            {"SYNCBRIDGE_DATABASE_URL": URL, "SYNCBRIDGE_DATABASE_PASSWORD_FILE": "p"},
            "the database's password can come from one place, got database_password_file and database_url",
        ),
        (
            {**VAULT, "SYNCBRIDGE_DATABASE_URL": URL, "SYNCBRIDGE_VAULT__DATABASE_ROLE": "r"},
            "got vault.database_role and database_url",
        ),
        (
            {"SYNCBRIDGE_REDIS_URL": f"redis+cluster://:{SECRET}@h:1,i:2", "SYNCBRIDGE_REDIS_PASSWORD_FILE": "p"},
            "the password of Redis can come from one place, got redis_password_file and redis_url",
        ),
        (
            {**VAULT, "SYNCBRIDGE_AMQP_URL": f"amqp://u:{SECRET}@h/", "SYNCBRIDGE_VAULT__AMQP_PATH": "p"},
            "the password of RabbitMQ can come from one place, got vault.amqp_path and amqp_url",
        ),
        (
            {
                **VAULT,
                "SYNCBRIDGE_VAULT__PKI_ROLE": "r",
                "SYNCBRIDGE_VAULT__PKI_NAME": "n",
                "SYNCBRIDGE_TLS_CERTIFICATE": "c.pem",
            },
            "the TLS certificate can come from one place",
        ),
        ({"SYNCBRIDGE_CONFIG": "none.toml"}, "none.toml: cannot be read"),
    ],
)
def test_bad_environment_is_refused_by_name_and_no_secret_is_said(environment: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(environment=environment)
    assert said in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", "prot"),
        ("[limits]\ndevice_max = 1", "limits.device_max"),
        ("[auth]\nnone = 1", "auth.none"),
        ("port = ", "not TOML"),
        ('port = "x"', "port"),
    ],
)
def test_bad_file_is_refused_with_its_key_and_its_name(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(file, {})
    assert said in str(refused.value)
    assert str(file) in str(refused.value)


def test_secrets_are_stars_wherever_settings_are_shown() -> None:
    environment = {"SYNCBRIDGE_DATABASE_URL": URL}
    settings = load(environment=environment)
    shown = repr(settings) + str(settings) + settings.model_dump_json() + str(explain(environment=environment))
    assert SECRET not in shown
    assert {row.key: row.value for row in explain(environment=environment)}["database_url"] == "***"
    assert settings.records_url == URL


def test_who_we_are_stands_in_the_address_and_the_password_elsewhere() -> None:
    environment = {
        "SYNCBRIDGE_DATABASE_URL": "postgresql+asyncpg://harmonyflow@h/n",
        "SYNCBRIDGE_DATABASE_PASSWORD_FILE": "p",
        "SYNCBRIDGE_REDIS_URL": "redis+cluster://syncbridge@h:1,i:2",
        "SYNCBRIDGE_REDIS_PASSWORD_FILE": "p",
        "SYNCBRIDGE_AMQP_URL": "amqp://syncbridge@h/",
        "SYNCBRIDGE_AMQP_PASSWORD_FILE": "p",
    }
    assert load(environment=environment).amqp_password_file is not None


@pytest.mark.parametrize("key", ["redis_url", "amqp_url"])
def test_a_back_ends_address_is_never_shown(key: str) -> None:
    scheme = "redis+cluster" if key == "redis_url" else "amqps"
    environment = {f"SYNCBRIDGE_{key.upper()}": f"{scheme}://user:{SECRET}@host:1234"}
    settings = load(environment=environment)
    assert SECRET not in repr(settings) + settings.model_dump_json() + str(explain(environment=environment))
    assert getattr(settings, key).get_secret_value().endswith("@host:1234")


@pytest.mark.parametrize(
    "url",
    [
        "redis://redis",
        "rediss://:p%40ss@redis.example.com:6380/0",
        "redis+cluster://user:pw@127.0.0.1:7000,127.0.0.1:7001,[::1]:7002",
        "rediss+cluster://[::1]:7000?x=y",
    ],
)
def test_every_form_of_an_address_of_redis_is_taken(url: str) -> None:
    found = load(environment={"SYNCBRIDGE_REDIS_URL": url}).redis_url
    assert found is not None
    assert found.get_secret_value() == url


def test_many_workers_are_taken_where_all_that_they_share_is_on_servers() -> None:
    settings = load(
        environment={
            "SYNCBRIDGE_WORKERS": "4",
            "SYNCBRIDGE_METRICS_PORT": "9464",
            "SYNCBRIDGE_REDIS_URL": "redis+cluster://redis:7000",
            "SYNCBRIDGE_DATABASE_URL": URL,
        }
    )
    assert (settings.workers, settings.redis_acks, settings.has_shared_records) == (4, "replicated", True)


@pytest.mark.parametrize(
    "environment", [{"JWT_SECRET": SECRET}, {**VAULT, "SYNCBRIDGE_VAULT_TOKEN": SECRET}], ids=["key", "token"]
)
def test_secrets_of_the_environment_are_stars_too(environment: dict[str, str]) -> None:
    settings, rows = load(environment=environment), explain(environment=environment)
    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json() + str(rows)
    assert [row.key for row in rows if row.value == "***"] == [
        "vault_token" if "JWT_SECRET" not in environment else "jwt_secret"
    ]


def test_variable_of_the_handbook_is_another_name_of_ours() -> None:
    settings = load(environment={"JWT_SECRET": SECRET})
    assert settings.jwt_secret is not None
    assert settings.jwt_secret.get_secret_value() == SECRET
    assert load(environment={"JWT_SECRET": ""}).jwt_secret is None


def test_certificate_of_vault_is_tls() -> None:
    environment = {**VAULT, "SYNCBRIDGE_VAULT__PKI_ROLE": "r", "SYNCBRIDGE_VAULT__PKI_NAME": "n"}
    assert load(environment={**environment, "SYNCBRIDGE_TLS_PORT": "8443"}).has_tls
    assert load(environment=environment).base_url.startswith("https://")
    # Without an address the table is not looked at.
    assert not load(environment={key: value for key, value in environment.items() if key not in VAULT}).has_tls


def test_every_key_is_explained() -> None:
    rows = explain(environment={})
    assert all(row.description for row in rows if "." not in row.key)
    reasons = {row.key: row.description for row in rows}
    assert reasons["limits.idle_timeout_ms"] == "three heartbeats without a byte read"


def test_lists_are_written_with_commas() -> None:
    settings = load(environment={"SYNCBRIDGE_TRUSTED_PROXIES": "10.0.0.1, 10.0.0.2,"})
    assert settings.trusted_proxies == ("10.0.0.1", "10.0.0.2")


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"SYNCBRIDGE_HOST": "::1"}, "http://[::1]:8080"),
        ({"SYNCBRIDGE_TLS_CERTIFICATE": "c.pem"}, "https://127.0.0.1:8080"),
        ({"SYNCBRIDGE_PUBLIC_URL": "https://api.example.com/"}, "https://api.example.com"),
    ],
)
def test_base_url_is_how_people_reach_it(environment: dict[str, str], url: str) -> None:
    assert load(environment=environment).base_url == url


def test_variables_of_the_command_line_and_the_build_are_no_keys() -> None:
    load(environment={"SYNCBRIDGE_URL": "x", "SYNCBRIDGE_TOKEN": "x", "SYNCBRIDGE_DEBUG": "1", "PATH": "x"})


def test_a_plan_says_only_what_is_other_than_in_the_shipped_one(tmp_path: Path) -> None:
    file = tmp_path / "syncbridge.toml"
    file.write_text('default_plan = "family"\n[plans.free]\ndevices_max = 3\n[plans.family]\ndevices_max = 12\n')
    settings = load(file, {"SYNCBRIDGE_PLANS__FREE__PUSH_BURST": "7"})
    assert settings.plans["free"] == replace(SHIPPED_PLANS["free"], devices_max=3, push_burst=7)
    assert settings.plans["family"] == replace(Plan(), devices_max=12)
    assert settings.plans["standard"] == Plan()
    sources = {row.key: row.source for row in explain(file, {"SYNCBRIDGE_PLANS__FREE__PUSH_BURST": "7"})}
    assert sources["plans.free.devices_max"] == sources["plans.family.devices_max"] == f"file {file}"
    assert sources["plans.free.push_burst"] == "environment SYNCBRIDGE_PLANS__FREE__PUSH_BURST"
    assert sources["plans.standard.devices_max"] == "default"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[plans.free]\ndevices = 3\n", "plans.free.devices"),
        ('[plans."Big One"]\ndevices_max = 3\n', "expected names of a-z, 0-9, _ and -"),
        ("[plans]\nfree = 3\n", "plans.free"),
    ],
)
def test_a_bad_plan_is_refused_by_its_place(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "syncbridge.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(said)):
        load(file, {})
