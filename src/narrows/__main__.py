"""``python -m narrows`` is the command ``narrows``."""

import sys

from narrows.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
