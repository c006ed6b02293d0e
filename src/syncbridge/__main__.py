"""``python -m syncbridge`` is the ``syncbridge`` command."""

from syncbridge.cli import main

main()
