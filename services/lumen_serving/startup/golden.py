"""The golden set: pictures drawn here and a few texts, by which whatever computes is compared.

Drawn and not taken from anywhere: nobody's pictures, the same on every machine. They go through
the server's own decoding and tokenising, so that whoever serves the model repeats the comparison
at its start.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lumen_resources.fetch.golden_set import VECTORS
from lumen_resources.model.layouts import VerifiedModel
from lumen_serving.media.images import decode_rgb
from lumen_serving.media.text import Tokenizer
from lumen_terms.modality import Modality

# Lying, standing and square: what a centre crop takes away differs.
_SIZES = ((320, 240), (240, 320), (256, 256), (360, 200), (300, 300), (224, 288))
_SHAPES = 7
TEXTS = (
    "a photo of a cat",
    "a photo of two dogs on a beach",
    "Danaus plexippus",
    "ein rotes Haus am See",
    "une vieille gare sous la neige",
    "雪の中の古い駅",
    "What is this? A diagram, 50 % larger & in colour!",
    "a crowded street market at night, " * 12,
)


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """What is compared: PNG files by their path in the model's folder, and texts.

    Empty where the model has no such tower.
    """

    pictures: Mapping[str, bytes]
    texts: tuple[str, ...]

    def items(self, model: VerifiedModel) -> dict[Modality, NDArray[Any]]:
        """Return what a backend takes: uint8 [N, S, S, 3] and int64 [N, L]; no empty ones."""
        found: dict[Modality, NDArray[Any]] = {}
        if self.pictures:
            squares = [decode_rgb(png, "", model.preprocess) for png in self.pictures.values()]
            found[Modality.IMAGE] = np.stack(squares)
        if self.texts:
            found[Modality.TEXT], _ = Tokenizer.load(model).encode(self.texts)
        return found

    def inputs(self) -> list[dict[str, str]]:
        """Return them as a model info lists them, pictures first."""
        return [{"image": path} for path in self.pictures] + [{"text": t} for t in self.texts]

    def files(self, vectors: Mapping[Modality, NDArray[np.float32]]) -> dict[str, bytes]:
        """Return all files by their paths: the pictures, and unit rows in the order of `inputs`."""
        order = (Modality.IMAGE, Modality.TEXT)
        rows = np.concatenate([vectors[modality] for modality in order if modality in vectors])
        out = io.BytesIO()
        np.save(out, rows)
        return {**self.pictures, VECTORS: out.getvalue()}


def golden_set(modalities: frozenset[Modality]) -> GoldenSet:
    """Return the set for a model that embeds these."""
    pictures = {f"parity/{n}.png": _drawn(n, size) for n, size in enumerate(_SIZES)}
    return GoldenSet(
        pictures if Modality.IMAGE in modalities else {},
        TEXTS if Modality.TEXT in modalities else (),
    )


def _drawn(seed: int, size: tuple[int, int]) -> bytes:
    """Return a PNG of a sky-like gradient with shapes of many colours and a soft pattern."""
    rng = np.random.default_rng(seed)
    width, height = size
    corners = rng.integers(40, 256, (2, 2, 3), dtype=np.uint8)
    picture = Image.fromarray(corners).resize(size, Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(picture)
    for number in range(_SHAPES):
        x, y = (int(v) for v in rng.integers(0, (width, height)))
        across, high = (int(v) for v in rng.integers(20, (width // 2, height // 2)))
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        box = (x, y, x + across, y + high)
        if number % 3 == 0:
            pen.ellipse(box, fill=colour)
        elif number % 3 == 1:
            pen.rectangle(box, outline=colour, width=7)
        else:
            pen.polygon([(x, y), (x + across, y + high // 3), (x, y + high)], fill=colour)
    return _png(picture)


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()
