"""What each method shows to Vault at a log-in. Files are read anew each time: whoever writes them renews them."""

from __future__ import annotations

from pathlib import Path

from syncbridge.secrets.faults import SecretFault
from syncbridge.secrets.files import read_text
from syncbridge.secrets.rules import VaultRules


def log_in_request(rules: VaultRules, token: str) -> dict[str, str] | str:
    """The body of the log-in, or the token itself where that is the method. Raises SecretFault (log_in)."""
    try:
        if rules.method == "approle":
            return {"role_id": rules.role_id, "secret_id": read_text(Path(rules.secret_id_file))}
        if rules.method == "kubernetes":
            return {"role": rules.kubernetes_role, "jwt": read_text(Path(rules.kubernetes_jwt_file))}
        if rules.token_file:
            return read_text(Path(rules.token_file))
    except SecretFault as fault:
        raise SecretFault("log_in", f"there is nothing to log in at Vault with: {fault}") from fault
    if not token:
        raise SecretFault("log_in", "there is no token for Vault: set SYNCBRIDGE_VAULT_TOKEN, or vault.token_file")
    return token
