"""Who somebody is, and what is theirs."""

from __future__ import annotations

from syncbridge.errors.roots import ClientFault


class HelloRequired(ClientFault):
    code = "hello_required"
    close_code = 4401
    meaning = "The first message on a connection is `hello`."


class AlreadyHello(ClientFault):
    code = "already_hello"
    meaning = "`hello` was said already; renew a token with `auth`."


class HelloTimeout(ClientFault):
    code = "hello_timeout"
    close_code = 4401
    meaning = "No `hello` came in time."


class ProtocolUnsupported(ClientFault):
    code = "protocol_unsupported"
    close_code = 4400
    meaning = "This protocol version is not spoken here."


class TokenMissing(ClientFault):
    code = "token_missing"
    http_status = 401
    close_code = 4401
    meaning = "A token is needed: in `hello`, or as `Authorization: Bearer`."


class TokenInvalid(ClientFault):
    code = "token_invalid"
    http_status = 401
    close_code = 4401
    meaning = "The token is none that is taken here, or its key is retired; get a new one."


class TokenRevoked(ClientFault):
    code = "token_revoked"
    http_status = 401
    close_code = 4403
    meaning = "The token was revoked; log in again."


class TokenExpired(ClientFault):
    code = "token_expired"
    http_status = 401
    close_code = 4401
    retry = "later"
    meaning = "The token has expired; get a new one and go on."


class BadCredentials(ClientFault):
    code = "bad_credentials"
    http_status = 401
    meaning = "The e-mail address or the password is wrong."


class Forbidden(ClientFault):
    code = "forbidden"
    http_status = 403
    close_code = 4403
    meaning = "This identity may not do this."


class ProofRequired(ClientFault):
    code = "proof_required"
    http_status = 403
    meaning = "This cannot be undone: send the password along, or log in anew and ask at once."


class AccountErased(ClientFault):
    code = "account_erased"
    http_status = 401
    close_code = 4403
    meaning = "The account was erased; nothing of it is kept here, and nothing of it is taken any more."


class OriginForbidden(ClientFault):
    code = "origin_forbidden"
    http_status = 403
    meaning = "The page's origin is not allowed here; an operator can allow it in `allowed_origins`."


class NotFound(ClientFault):
    code = "not_found"
    http_status = 404
    meaning = "There is no such thing, or it is not yours."


class AccountExists(ClientFault):
    code = "account_exists"
    http_status = 409
    meaning = "An account with this e-mail address exists."


class DeviceLimit(ClientFault):
    """The account has its full number of devices; ``devices`` lists them as (id, name, platform)."""

    code = "device_limit"
    http_status = 409
    close_code = 4403
    meaning = "The account has its full number of devices; remove one to make room."

    def __init__(self, message: str = "", devices: tuple[tuple[str, str, str], ...] = ()) -> None:
        self.devices = devices
        super().__init__(message)


class DeviceUnknown(ClientFault):
    code = "device_unknown"
    http_status = 404
    close_code = 4403
    meaning = "The account has no such device, or it was removed."


class DeviceReplaced(ClientFault):
    code = "device_replaced"
    close_code = 4409
    meaning = "The same device connected again; this older connection is closed."
