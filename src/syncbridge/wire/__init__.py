"""Bytes to messages and back: codec, handshake, close codes. Pure; knows no socket."""
