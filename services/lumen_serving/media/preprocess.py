"""From a decoded picture to the model's square, and from that to its float input.

Sizes are rounded exactly as torchvision does it for open_clip, so that the same picture gives the
same vector here and there. Called by `images` (geometry) and by the backends (normalisation).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lumen_manifest.spec.enums import PreprocessPreset
from lumen_resources.model.layouts import Preprocess

_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}
# Up to this ratio of the edges the whole picture is resized, as open_clip does it; beyond, the
# resized picture would be mostly cropped away, and a 1 x 60,000,000 one would need gigabytes.
_MOST_RATIO = 4


def resized_size(width: int, height: int, preprocess: Preprocess) -> tuple[int, int]:
    """Return (width, height) after the resize and before the crop, at least `size` each."""
    side = preprocess.size
    if preprocess.resize_mode == "squash":
        return side, side
    # torchvision's Resize(int): the long edge is truncated, not rounded.
    if width <= height:
        return side, int(side * height / width)
    return int(side * width / height), side


def crop_offset(edge: int, preprocess: Preprocess) -> int:
    """Return where the centre crop begins on an edge: half of the rest, rounded as the model's."""
    rest = edge - preprocess.size
    return round(rest / 2.0) if preprocess.crop == "even" else rest // 2


@dataclass(frozen=True, slots=True)
class Decoded:
    """An upright RGB picture, perhaps decoded at a fraction of its size.

    `original` is the (width, height) that decides the geometry. `region` (left, top, right,
    bottom) is where the whole of it lies in `picture`: a JPEG of 257 pixels decoded by halves is
    129 pixels wide, of which 128.5 are the picture.
    """

    picture: Image.Image
    original: tuple[int, int]
    region: tuple[float, float, float, float]

    @classmethod
    def whole(cls, picture: Image.Image) -> "Decoded":
        """Wrap a picture of full size."""
        return cls(picture, picture.size, (0, 0, *picture.size))


def model_square(decoded: Decoded, preprocess: Preprocess) -> Image.Image:
    """Return the picture resized and cropped to `size` x `size`."""
    if preprocess.preset is PreprocessPreset.PYBIOCLIP:
        return _pybioclips_square(decoded, preprocess.size)
    side, resample = preprocess.size, _FILTERS[preprocess.interpolation]
    width, height = resized_size(*decoded.original, preprocess)
    left, top = crop_offset(width, preprocess), crop_offset(height, preprocess)
    if max(width, height) <= _MOST_RATIO * side:
        resized = decoded.picture.resize((width, height), resample, box=decoded.region)
        return resized.crop((left, top, left + side, top + side))
    # Only the part that stays: the same filter at the same scale, from the crop's own box.
    x0, y0, x1, y1 = decoded.region
    x, y = (x1 - x0) / width, (y1 - y0) / height
    box = (x0 + left * x, y0 + top * y, x0 + (left + side) * x, y0 + (top + side) * y)
    return decoded.picture.resize((side, side), resample, box=box)


def _pybioclips_square(decoded: Decoded, side: int) -> Image.Image:
    """Return the picture resized channel by channel in floats, and rounded once.

    torchvision's bilinear resize of a float tensor has Pillow's filter without its rounding.
    """
    channels = [
        np.asarray(
            channel.convert("F").resize((side, side), Image.Resampling.BILINEAR, box=decoded.region)
        )
        for channel in decoded.picture.split()
    ]
    levels = np.rint(np.stack(channels, axis=-1)).clip(0, 255)
    return Image.fromarray(levels.astype(np.uint8))


@dataclass(frozen=True, slots=True)
class Normaliser:
    """uint8 RGB rows to the float input of a vision tower.

    Plane by plane, so that each stays in the cache over its three steps: a third of the time of a
    table per channel, and a fifth of one expression over the batch.
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def of(cls, preprocess: Preprocess) -> "Normaliser":
        """Take the model's mean and standard deviation per channel."""
        return cls(np.asarray(preprocess.mean, np.float32), np.asarray(preprocess.std, np.float32))

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return [N, 3, S, S] float32 for [N, S, S, 3] uint8: bit for bit open_clip's values.

        That is (level / 255 - mean) / std in float32, in torchvision's order.
        """
        count, height, width, channels = images.shape
        out = np.empty((count, channels, height, width), np.float32)
        for planes, image in zip(out, images, strict=True):
            for channel, plane in enumerate(planes):
                plane[...] = image[..., channel]
                np.divide(plane, np.float32(255), out=plane)
                np.subtract(plane, self.mean[channel], out=plane)
                np.divide(plane, self.std[channel], out=plane)
        return out


_MIB = 1 << 20
# More than a picture of 12 megapixels usually costs: such work takes turns among its own kind.
_LARGE_BYTES = 160 * _MIB
_LARGE_S = 0.7


@dataclass(frozen=True, slots=True)
class PreprocessWork:
    """What is left to do for an item: `make` returns its row of the model's input.

    `peak_bytes` is the most memory that it holds at a time, `seconds` about what it takes of one
    core; both are judged beforehand, since nothing can end it.
    """

    make: Callable[[], NDArray[Any]]
    peak_bytes: int = 0
    seconds: float = 0.0

    @property
    def large(self) -> bool:
        """Whether it would hold up others."""
        return self.peak_bytes > _LARGE_BYTES or self.seconds > _LARGE_S
