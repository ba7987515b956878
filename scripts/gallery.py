"""A page over the pictures of runs, to look through, sort and filter; it opens from disk.

    python scripts/gallery.py FOLDER... [--out PAGE]

writes gallery.html into the run folder, or for several into the folder that they have in common. A run ends with one of
its own; this makes it anew, or one over several runs.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lightning_fv.errors import FeatureVisualizationError
from lightning_fv.report import write_gallery


def main(args: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", metavar="FOLDER", type=Path, nargs="+", help="a run folder of scripts/fit.py")
    parser.add_argument("--out", metavar="PAGE", type=Path, help="the page to write")
    options = parser.parse_args(args)
    try:
        print(write_gallery(options.folders, options.out))
    except FeatureVisualizationError as error:
        print(f"gallery: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
