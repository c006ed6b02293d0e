"""Real back ends on this machine: each a process of its own, on free ports, with its data in a folder of its own.

What `make cluster` starts, and what the checks talk to. Nothing of it touches a service that the machine runs itself.
"""
