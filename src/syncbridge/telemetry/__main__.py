"""Prints the table of metrics as Markdown."""

import sys

from syncbridge.telemetry.metrics import table

sys.stdout.write(table())
