"""Models on torch: open_clip's and transformers' own towers, filled with verified weights only."""

import os

# Threads of OpenMP that spin at the end of each operation take the cores from the decode threads
# and from neighbours, and at last from each other: on two shared cores, with a dozen threads that
# wanted to run, half of a ViT-B/32 took 360 ms of CPU an item and 62 without. The library reads
# this once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
