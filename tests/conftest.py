"""What tests of several packages share; the worlds they live in are modules of tests/worlds."""

from pathlib import Path

import pytest
import tiny_models
from hypothesis import settings

# The same examples on every run, however slow the machine is; `--hypothesis-profile=others` draws
# others.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("others", deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory) -> Path:
    """A cache folder that holds `tiny-clip` and `tiny-bioclip`; read it only."""
    cache = tmp_path_factory.mktemp("tiny-cache")
    tiny_models.write_model(cache)
    tiny_models.write_model(cache, tiny_models.a_bioclip())
    return cache
