"""Reads fields of other people's configurations: of the right kind and within bounds, or refused.

Pure. A field that is absent is None or ''; one of another kind is an error, never a default.
"""

from collections.abc import Mapping
from typing import Any

from lumen_resources.errors import ModelInfoError


def section(config: Mapping[str, Any] | None, *path: str) -> Mapping[str, Any]:
    """Return a part of a configuration, empty where there is none."""
    found: Any = config or {}
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def model_cfg_of(config: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return open_clip's architecture: a part of its hub file, or the whole of a bare config.json.

    Empty for a configuration of another library.
    """
    inside = section(config, "model_cfg")
    if inside or config is None:
        return inside
    return config if "vision_cfg" in config else {}


def whole(config: Mapping[str, Any], key: str, most: int) -> int | None:
    """Return an integer of 1 to `most`; raises ModelInfoError for anything else."""
    value = config.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise unusable(key, value, f"an integer from 1 to {most:,}")
    return value


def word(config: Mapping[str, Any], key: str, longest: int = 200) -> str:
    """Return a text; raises ModelInfoError for anything else."""
    value = config.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > longest or not value.isprintable():
        raise unusable(key, value, f"a text of at most {longest} characters")
    return value


def flag(config: Mapping[str, Any], key: str) -> bool:
    """Return true or false, false where nothing is said; raises ModelInfoError."""
    value = config.get(key)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise unusable(key, value, "true or false")
    return value


def token_text(settings: Mapping[str, Any], key: str) -> str | None:
    """Return a token, which is written as its text or as an object that holds it."""
    value = settings.get(key)
    text = value.get("content") if isinstance(value, Mapping) else value
    return text if isinstance(text, str) else None


def unusable(key: str, value: object, expected: str) -> ModelInfoError:
    """Say which field cannot be used; a value is shown as far as a line has room."""
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return ModelInfoError(
        f"The model's configuration says {key} {shown}; {expected} is expected.",
        remedy="Take the model from where it was published, or correct its configuration.",
    )
