"""What any repository's configuration must keep to before a library builds a model from it.

A library draws some parameters before anything could compare them with the weights: what is let
through here costs a gigabyte or two at most.
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lumen_resources.errors import ResourceValidationError

# The most that makes sense of a number, by how its name ends. The largest of any model in use are
# a vocabulary of 901,629, a width of 1,664 and 577 patches.
_MOST = (
    ("vocab_size", 4_000_000),
    ("_id", 4_000_000),
    ("intermediate_size", 131_072),
    ("context_length", 8192),
    ("image_size", 4096),
    ("layers", 512),
    ("", 16_384),
)
_MOST_PATCHES = 16_384
# What open_clip and transformers take where nothing is said.
_USUAL = (("image_size", 224), ("patch_size", 16))
_REMEDY = "Use the configuration that the weights were published with."


def bounded(config: Any, key: str = "") -> None:
    """Refuse numbers that no model has, before anything is made of them."""
    if isinstance(config, Mapping):
        _bound_patches(config)
        for name, value in config.items():
            bounded(value, str(name))
    elif isinstance(config, list):
        for value in config:
            bounded(value, key)
    elif isinstance(config, int | float):
        most = next(most for ending, most in _MOST if key.endswith(ending))
        # `not <=` also takes what is not a number.
        if not abs(config) <= most:
            raise _senseless(f"{key[:100]} {json.dumps(config)[:40]}", most)


def _bound_patches(config: Mapping[str, Any]) -> None:
    """Bound the table of positions, which is drawn; either edge may be one number or two."""
    if not {"image_size", "patch_size"} & config.keys():
        return
    sizes, patches = (_edges(config.get(key), usual) for key, usual in _USUAL)
    across = [
        size / patch if patch > 0 else size for size, patch in zip(sizes, patches, strict=True)
    ]
    if not abs(count := math.prod(across)) <= _MOST_PATCHES:
        raise _senseless(f"pictures of {count:,.0f} patches", _MOST_PATCHES)


def _edges(value: Any, usual: int) -> tuple[float, float]:
    """Return both edges; those of other kinds are the library's to refuse."""
    pair = value if isinstance(value, list) and len(value) == 2 else (value, value)
    one, other = (edge if isinstance(edge, int | float) else usual for edge in pair)
    return one, other


def _senseless(found: str, most: int) -> ResourceValidationError:
    return ResourceValidationError(
        f"The model's configuration has {found}; at most {most:,} makes sense.", remedy=_REMEDY
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
