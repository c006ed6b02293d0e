"""One port for REST and WebSocket: an ASGI app and the device sockets behind the same listening socket.

Start at `server.Server`; what the layers above see of a socket is in `handler`. Everything here runs in the
loop's thread.
"""
