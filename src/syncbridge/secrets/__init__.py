"""Secrets that others keep: how they are read, judged and kept fresh, whoever their keeper is.

========== ===================================================================================================
rules      what an operator can set about Vault
faults     why a secret cannot be had, in words for an operator
strength   what a signing key must be, and what is said of one that is none
schedule   when each version of a key signs, and until when its tokens are taken
keeping    the tasks that keep secrets fresh, and the figures of each
files      keys and credentials from files, as Kubernetes mounts them
fixed      a key from the environment: it stays until the process ends
========== ===================================================================================================

Vault itself is asked by `adapters.cluster`; what is here knows no brand but by its settings.
"""
