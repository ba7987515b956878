"""Render the same targets on several networks, side by side; see ``python scripts/compare.py --help``."""

import sys

from lightning_fv.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
