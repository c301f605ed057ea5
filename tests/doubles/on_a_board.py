"""Starts a model server as on the board whose file system BOARD names: `python on_a_board.py`.

The package for the NPU is the double that lies beside this script. There is no other way to have a
device tree here: the kernel makes /proc.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parent / "worlds")]

from lumen_serving import main  # noqa: E402 - after the path to the double
from lumen_serving.backends import rknn  # noqa: E402


def configured(cls, config, settings):
    return cls(rknn.RknnOptions(config.rknn_target, Path(os.environ["BOARD"])))


rknn.RknnBackend.configured = classmethod(configured)

if __name__ == "__main__":
    sys.exit(main.main())
