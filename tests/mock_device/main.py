"""The command line on the mock device, in a process of its own: ``python -m tests.mock_device.main --targets logits:0``."""

import sys

from lightning_fv.commands.main import main
from tests.mock_device.cuda import mocked_cuda

if __name__ == "__main__":
    with mocked_cuda():
        raise SystemExit(main(sys.argv[1:]))
