"""List the layers of a network: ``python scripts/layers.py NETWORK [--grep X] [--no-weights]``."""

import sys

from lightning_fv.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["layers", *sys.argv[1:]]))
