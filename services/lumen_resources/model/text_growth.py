"""How long a text may get on its way through a tokenizer's steps, which follow one another.

Each step of a published tokenizer replaces a sign by a few at most. Thirty steps that each write
ten for one are a kilobyte of tokenizer.json, and more memory than there is for a text of one
letter. Pure.
"""

import base64
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from tokenizers import Tokenizer

# Published ones reach 8: spaces that are replaced, and bytes that are written as two.
MOST_GROWTH = 256
# Of a table of signs, as base64; published ones have 320 kB.
MOST_TABLE = 4 * 1024 * 1024
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
    if kind == "Precompiled":
        return _longest_written(step.get("precompiled_charsmap"))
    return 2 if kind == "ByteLevel" else 1


def _longest_written(encoded: object) -> float:
    """Return how many signs a table of signs (sentencepiece's charsmap) writes for one at most.

    The table is the length of its trie, the trie (a double array of 32-bit units), and what is
    written, each with a zero at its end. Infinite for a table that leads out of itself: looking a
    text up in it would end the process's thread.
    """
    if not isinstance(encoded, str) or len(encoded) > MOST_TABLE:
        return math.inf
    try:
        table = base64.b64decode(encoded, validate=True)
    except ValueError:
        return math.inf
    end = 4 + int.from_bytes(table[:4], "little")
    if end % 4 or not 8 <= end <= len(table):
        return math.inf
    written = table[end:]
    starts = _leaves(np.frombuffer(table[4:end], "<u4"))
    if starts is None or any(
        at >= len(written) or written[at] & 0xC0 == 0x80 for at in starts.tolist()
    ):
        return math.inf
    return max((len(each.decode("utf-8", "replace")) for each in written.split(b"\0")), default=1)


def _leaves(units: NDArray[np.uint32]) -> NDArray[np.uint32] | None:
    """Return the values of a double array's leaves; None when a look-up could leave it."""
    labels = units & np.uint32(0x800000FF)
    below = (units >> np.uint32(10)) << ((units & np.uint32(1 << 9)) >> np.uint32(6))
    signs = np.arange(1, 256, dtype=np.uint32)
    seen = np.zeros(len(units), np.bool_)
    found = [np.zeros(0, np.uint32)]
    frontier = below[:1]
    while len(frontier):
        # Any byte may follow: all places of a node's block are looked at.
        if int((frontier | np.uint32(255)).max()) >= len(units):
            return None
        seen[frontier] = True
        following = []
        for start in range(0, len(frontier), 4096):
            places = (frontier[start : start + 4096, None] ^ signs).ravel()
            places = places[labels[places] == np.tile(signs, len(places) // 255)]
            node = places ^ below[places]
            ends = node[(units[places] >> np.uint32(8)) & np.uint32(1) == 1]
            if len(ends) and int(ends.max()) >= len(units):
                return None
            found.append(units[ends] & np.uint32(0x7FFFFFFF))
            following.append(node)
        frontier = np.unique(np.concatenate(following))
        inside = frontier[frontier < len(units)]
        frontier = np.concatenate([frontier[frontier >= len(units)], inside[~seen[inside]]])
    return np.unique(np.concatenate(found))


def _between(content: str) -> int:
    return 1 + len(content) if content else 1
