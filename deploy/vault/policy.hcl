# What SyncBridge may in Vault, and nothing more: it reads, and has things issued. Nothing is written, nothing listed.
# The paths are those of the defaults of the table [vault]; leave out what an installation does not use.

# Signing keys: which versions there are, and what each holds. `vault kv put` and `delete` are an operator's.
path "secret/metadata/harmonyflow/jwt" {
  capabilities = ["read"]
}
path "secret/data/harmonyflow/jwt" {
  capabilities = ["read"]
}

# Passwords of Redis and RabbitMQ.
path "secret/data/harmonyflow/redis" {
  capabilities = ["read"]
}
path "secret/data/harmonyflow/rabbitmq" {
  capabilities = ["read"]
}

# A database user for each process, and the renewal of its lease.
path "database/creds/syncbridge" {
  capabilities = ["read"]
}
path "sys/leases/renew" {
  capabilities = ["update"]
}

# The TLS certificate of port 8443.
path "pki/issue/syncbridge" {
  capabilities = ["update"]
}
