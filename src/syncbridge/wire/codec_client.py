"""A device's side of the codec: server messages from bytes, client messages to bytes. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from syncbridge.core.messages import AnyServerMessage, ClientMessage
from syncbridge.errors import BadMessage

_decoder: Final = msgspec.json.Decoder(AnyServerMessage)
_encoder: Final = msgspec.json.Encoder()
_tag_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_KNOWN: Final = frozenset(kind.__struct_config__.tag for kind in AnyServerMessage.__args__)


def decode(data: bytes) -> AnyServerMessage | None:
    """The message in a frame; None for a type that this version does not know, which is to be passed over.

    Raises   BadMessage naming the place.
    """
    try:
        message: AnyServerMessage = _decoder.decode(data)
    except msgspec.ValidationError as error:
        if _is_unknown_type(data):
            return None
        raise BadMessage(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(str(error)) from None
    return message


def _is_unknown_type(data: bytes) -> bool:
    try:
        tag = msgspec.json.decode(_tag_decoder.decode(data).get("type", msgspec.Raw(b"null")))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return isinstance(tag, str) and tag not in _KNOWN


def encode(message: ClientMessage) -> bytes:
    """One JSON text, ``type`` first."""
    return _encoder.encode(message)
