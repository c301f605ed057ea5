"""What any repository's configuration must keep to before a library builds a model from it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lumen_resources.errors import ResourceValidationError

# The largest of any model in use is a vocabulary of 901,629; a list of layers is counted through.
MOST = 4_000_000
MOST_LAYERS = 512
_LAYERS = "layers"
_REMEDY = "Use the configuration that the weights were published with."


def bounded(config: Any, key: str = "") -> None:
    """Refuse numbers that no model has, before anything is made of them."""
    if isinstance(config, Mapping):
        for name, value in config.items():
            bounded(value, str(name))
    elif isinstance(config, list):
        for value in config:
            bounded(value, key)
    elif isinstance(config, int | float):
        most = MOST_LAYERS if key.endswith(_LAYERS) else MOST
        if not abs(config) <= most:
            raise ResourceValidationError(
                f"The model's configuration has {key[:100]} {json.dumps(config)[:40]}; at most "
                f"{most:,} makes sense.",
                remedy=_REMEDY,
            )


@contextmanager
def built(library: str) -> Iterator[None]:
    """Translate whatever a library raises while it builds a model from foreign values."""
    try:
        yield
    # Foreign values reach every corner of the library: no list of its exceptions is complete.
    except Exception as error:
        raise ResourceValidationError(
            f"{library} cannot build the model that its configuration describes: "
            f"{type(error).__name__}: {str(error)[:300]}.",
            remedy=f"{_REMEDY} If it is newer than {library}, upgrade that.",
        ) from error
