"""Secrets that Vault keeps: log-in, keys, credentials, certificates."""
