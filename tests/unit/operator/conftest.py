"""Makes the operator's simulated world importable by name."""

import importlib.util
import sys
from pathlib import Path

import pytest

for _name in (
    "operator_world",
    "operator_cluster",
    "operator_watched",
    "operator_scenes",
    "operator_rollouts",
):
    _path = Path(__file__).parent / f"{_name}.py"
    if _name not in sys.modules and _path.exists():
        _spec = importlib.util.spec_from_file_location(_name, _path)
        assert _spec is not None
        assert _spec.loader is not None
        _module = importlib.util.module_from_spec(_spec)
        sys.modules[_name] = _module
        _spec.loader.exec_module(_module)


@pytest.fixture
def world():
    """A world with a pool of CPUs, one of GPUs without nodes, and a plain node."""
    made = sys.modules["operator_world"].World()
    made.pool()
    made.gpu_pool()
    made.node("n1")
    return made
