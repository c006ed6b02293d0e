#!/bin/sh
# Vault (or OpenBao) gets what SyncBridge needs: the policy, a way to log in, the first signing key, and where they are
# asked for, an engine for database users and one for certificates. Safe to run twice: what is there stays.
#
#   VAULT_ADDR=https://vault.internal:8200 VAULT_TOKEN=... deploy/vault/setup.sh
#
#   VAULT                the command; `vault`, or `bao`
#   DATABASE_ADMIN_URL   postgresql://{{username}}:{{password}}@HOST:5432/harmonyflow, with
#   DATABASE_ADMIN_USER, DATABASE_ADMIN_PASSWORD   who may make users there (and owns SyncBridge's tables)
#   PKI_DOMAIN           like harmonyflow.io: certificates for names in it are issued by an authority made here
set -eu
vault="${VAULT:-vault}"
here="$(cd "$(dirname "$0")" && pwd)"

has() { # has auth approle/: whether such a thing is mounted
  "$vault" "$1" list -format=json | grep -q "\"$2\""
}

"$vault" policy write syncbridge "$here/policy.hcl"

# -- who may come: an AppRole; the secret id is for a file that SyncBridge alone can read -------------------------------
has auth approle/ || "$vault" auth enable approle
"$vault" write auth/approle/role/syncbridge \
  token_policies=syncbridge token_ttl=1h token_max_ttl=24h secret_id_ttl=0 secret_id_num_uses=0

# -- the signing key, as the operators' handbook writes it --------------------------------------------------------------
has secrets secret/ || "$vault" secrets enable -path=secret -version=2 kv
if ! "$vault" kv metadata get -mount=secret harmonyflow/jwt >/dev/null 2>&1; then
  # Secrets go in by standard input: what stands in a command's words, everybody on the machine can read (ps).
  key="$(openssl rand -base64 32)"
  printf '%s' "$key" | "$vault" kv put -mount=secret harmonyflow/jwt signing_key=-
fi

# -- users of the database, an hour each, a day at the most -------------------------------------------------------------
if [ -n "${DATABASE_ADMIN_URL:-}" ]; then
  has secrets database/ || "$vault" secrets enable database
  # The users inherit from the owner of the tables, and act as it: what one made, the next one may change.
  printf '%s' "$DATABASE_ADMIN_PASSWORD" | "$vault" write database/config/harmonyflow \
    plugin_name=postgresql-database-plugin allowed_roles=syncbridge \
    connection_url="$DATABASE_ADMIN_URL" username="$DATABASE_ADMIN_USER" password=-
  "$vault" write database/roles/syncbridge db_name=harmonyflow \
    default_ttl="${DATABASE_TTL:-1h}" max_ttl="${DATABASE_MAX_TTL:-24h}" \
    creation_statements="CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' \
IN ROLE \"$DATABASE_ADMIN_USER\"; ALTER ROLE \"{{name}}\" SET role = '$DATABASE_ADMIN_USER';"
fi

# -- certificates -------------------------------------------------------------------------------------------------------
if [ -n "${PKI_DOMAIN:-}" ]; then
  if ! has secrets pki/; then
    "$vault" secrets enable pki
    "$vault" secrets tune -max-lease-ttl=87600h pki
    "$vault" write -field=certificate pki/root/generate/internal common_name="SyncBridge $PKI_DOMAIN" ttl=87600h
  fi
  "$vault" write pki/roles/syncbridge allowed_domains="$PKI_DOMAIN" allow_subdomains=true allow_bare_domains=true \
    allow_localhost=true allow_ip_sans=true key_type=ec key_bits=256 ttl="${PKI_TTL:-2160h}" max_ttl=2160h
fi
