import operator_world
import pytest


@pytest.fixture
def world():
    """A world with a pool of CPUs, one of GPUs without nodes, and a plain node."""
    made = operator_world.World()
    made.pool()
    made.gpu_pool()
    made.node("n1")
    return made
