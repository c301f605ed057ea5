"""Rockchip's real converter, installed once by Lumen's own function into `.venv-rknn`."""

import sys
from pathlib import Path

import pytest

from lumen_export.rknn.toolkit import make_toolkit

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "tests" / "bench"), str(Path(__file__).parent)]


@pytest.fixture(scope="session")
def toolkit():
    return make_toolkit(ROOT / ".venv-rknn", print)
