"""Render pictures of what units of a network look for; see ``python scripts/fit.py --help``."""

import sys

from lightning_fv.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
