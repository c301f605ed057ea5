"""How many weights the two towers of a known model have, by its name: facts, not code."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from lumen_terms.open_clip_tags import find_tag

TABLE = "model_sizes.tsv"
# Names that are not an architecture's own: BioCLIP's, and those that transformers gave to CLIP.
_OTHER_NAMES = {
    "bioclip": "ViT-B-16",
    "bioclip-2": "ViT-L-14",
    "bioclip-2.5-vith14": "ViT-H-14",
    "clip-vit-base-patch16": "ViT-B-16",
    "clip-vit-base-patch32": "ViT-B-32",
    "clip-vit-large-patch14": "ViT-L-14",
    "clip-vit-large-patch14-336": "ViT-L-14-336",
}


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Weights of an architecture's towers, in numbers and not in bytes; the rest is little."""

    vision: int
    text: int


def find_size(name: str) -> ModelSize | None:
    """Return the size of the model that a name stands for; None for a name that nobody knows.

    The name is an architecture's, `arch::tag` or `arch__tag`, or a repository's, with or without
    its owner and in any case.
    """
    tag = find_tag(name)
    last = name.rpartition("/")[2]
    architecture = tag.architecture if tag else re.split("::|__", last)[0]
    return _sizes().get(_letters(_OTHER_NAMES.get(architecture.casefold(), architecture)))


@cache
def _sizes() -> Mapping[str, ModelSize]:
    text = files("lumen_terms").joinpath(TABLE).read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    return {_letters(name): ModelSize(int(vision), int(words)) for name, vision, words in rows}


def _letters(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
