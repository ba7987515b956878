"""Write a page of the pictures of runs; see ``python scripts/gallery.py --help``."""

import sys

from lightning_fv.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["gallery", *sys.argv[1:]]))
