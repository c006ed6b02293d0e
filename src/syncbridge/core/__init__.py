"""The pure core: deterministic machines that decide; no I/O, no clock, no randomness."""
