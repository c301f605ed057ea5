"""Copy the demo models to where a volume is mounted: `weights.py VOLUME`."""

import shutil
import sys
from pathlib import Path

# One by one: the volume's own folder belongs to somebody else.
for model in Path("/models").iterdir():
    shutil.copytree(model, Path(sys.argv[1]) / model.name, copy_function=shutil.copyfile)
