"""The thin runtime: drives the machines of the core, one event at a time, and knows the outside as ports.

Start at `engine.Engine`. Nothing here knows a socket library, an event loop or a brand of store: a simulator with
a virtual clock runs the same code.
"""
