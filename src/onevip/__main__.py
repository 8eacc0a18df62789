"""`python -m onevip`: the console script without an installation."""

import sys

from onevip.command.main import main

sys.exit(main())
