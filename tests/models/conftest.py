"""Threads of OpenMP sleep while they wait, as in a server: it is said before torch is imported."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
