"""``python -m lightning_fv``: the same as the ``lightning-fv`` command."""

import sys

from lightning_fv.commands.main import main

sys.exit(main())
