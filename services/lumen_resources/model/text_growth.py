"""How long a text may get on its way through a tokenizer's steps, which follow one another.

Each step of a published tokenizer replaces a sign by a few at most. Thirty steps that each write
ten for one are a kilobyte of tokenizer.json, and more memory than there is for a text of one
letter. Pure.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from tokenizers import Tokenizer

# Published ones reach 8: spaces that are replaced, and bytes that are written as two.
MOST_GROWTH = 256
# What a step that holds others calls them, by the kind of step.
_INSIDE = ("normalizers", "pretokenizers", "processors")


def growth_of(tokenizer: Tokenizer) -> float:
    """Return how many times longer than itself a text may get, as far as the steps say it."""
    growth = 1.0
    for part in (tokenizer.normalizer, tokenizer.pre_tokenizer, tokenizer.post_processor):
        if part is not None:
            for step in _steps(orjson.loads(part.__getstate__())):
                growth *= max(1.0, _factor(step))
    return growth


def _steps(step: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    inside = next((step[key] for key in _INSIDE if key in step), None)
    if inside is None:
        yield step
        return
    for each in inside:
        yield from _steps(each)


def _factor(step: Mapping[str, Any]) -> float:
    kind = step.get("type")
    if kind == "Replace":
        # An expression, like an empty text, may match between all signs.
        length = len(step["pattern"].get("String", ""))
        return len(step["content"]) / length if length else _between(step["content"])
    if kind == "TemplateProcessing":
        return sum("Sequence" in piece for piece in step["single"])
    return 2 if kind == "ByteLevel" else 1


def _between(content: str) -> int:
    return 1 + len(content) if content else 1
