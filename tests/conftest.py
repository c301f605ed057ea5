"""What tests of several packages share; the worlds they live in are modules of tests/worlds."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import tiny_models
from hypothesis import settings

# Whoever runs tests in the background has Ctrl-C ignored, and so would every process of theirs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples on every run, however slow the machine is; `--hypothesis-profile=others` draws
# others.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("others", deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """Undo what a command that ran in this process made of the logs."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory) -> Path:
    """A cache folder that holds `tiny-clip` and `tiny-bioclip`; read it only."""
    cache = tmp_path_factory.mktemp("tiny-cache")
    tiny_models.write_model(cache)
    tiny_models.write_model(cache, tiny_models.a_bioclip())
    return cache
