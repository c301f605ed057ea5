"""Copy the demo models to where a volume is mounted: `weights.py VOLUME`."""

import shutil
import sys

shutil.copytree("/models", sys.argv[1], dirs_exist_ok=True, copy_function=shutil.copyfile)
