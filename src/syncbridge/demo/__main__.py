"""``python -m syncbridge.demo`` is ``syncbridge demo``."""

import sys

from syncbridge.demo import main

sys.exit(main())
