"""One message or body is not what it has to be."""

from __future__ import annotations

from syncbridge.errors.roots import ClientFault


class BadMessage(ClientFault):
    code = "bad_message"
    close_code = 4400
    meaning = "The message is not what the protocol says; the place is named."


class UnknownType(ClientFault):
    code = "unknown_type"
    meaning = "No message of the protocol has this type."


class MessageTooLarge(ClientFault):
    code = "message_too_large"
    http_status = 413
    close_code = 1009
    meaning = "The message is larger than the limit in `welcome.limits`."


class UnsupportedMediaType(ClientFault):
    code = "unsupported_media_type"
    http_status = 415
    meaning = "The body's media type is not one this resource takes; see Accept-Patch."


class ValidationFailed(ClientFault):
    code = "validation_failed"
    http_status = 422
    meaning = "A field is missing or out of range; the field is named."


class MethodNotAllowed(ClientFault):
    code = "method_not_allowed"
    http_status = 405
    meaning = "The resource does not take this method; see Allow."
