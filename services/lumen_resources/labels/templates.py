"""The sentences around a label whose vector is computed.

Called by `prepare`. A label under several sentences is the mean of their unit vectors, at unit
length again: this is how published species vectors are made (Radford et al. 2021, section 3.1.4;
Imageomics' make_txt_embedding.py).
"""

from collections.abc import Iterable

from lumen_manifest.spec.model_spec import OPENAI_80
from lumen_resources.errors import LabelSetError

# OpenAI's sentences for ImageNet, in their order.
_OPENAI_80 = (
    "a bad photo of a {}.",
    "a photo of many {}.",
    "a sculpture of a {}.",
    "a photo of the hard to see {}.",
    "a low resolution photo of the {}.",
    "a rendering of a {}.",
    "graffiti of a {}.",
    "a bad photo of the {}.",
    "a cropped photo of the {}.",
    "a tattoo of a {}.",
    "the embroidered {}.",
    "a photo of a hard to see {}.",
    "a bright photo of a {}.",
    "a photo of a clean {}.",
    "a photo of a dirty {}.",
    "a dark photo of the {}.",
    "a drawing of a {}.",
    "a photo of my {}.",
    "the plastic {}.",
    "a photo of the cool {}.",
    "a close-up photo of a {}.",
    "a black and white photo of the {}.",
    "a painting of the {}.",
    "a painting of a {}.",
    "a pixelated photo of the {}.",
    "a sculpture of the {}.",
    "a bright photo of the {}.",
    "a cropped photo of a {}.",
    "a plastic {}.",
    "a photo of the dirty {}.",
    "a jpeg corrupted photo of a {}.",
    "a blurry photo of the {}.",
    "a photo of the {}.",
    "a good photo of the {}.",
    "a rendering of the {}.",
    "a {} in a video game.",
    "a photo of one {}.",
    "a doodle of a {}.",
    "a close-up photo of the {}.",
    "a photo of a {}.",
    "the origami {}.",
    "the {} in a video game.",
    "a sketch of a {}.",
    "a doodle of the {}.",
    "a origami {}.",
    "a low resolution photo of a {}.",
    "the toy {}.",
    "a rendition of the {}.",
    "a photo of the clean {}.",
    "a photo of a large {}.",
    "a rendition of a {}.",
    "a photo of a nice {}.",
    "a photo of a weird {}.",
    "a blurry photo of a {}.",
    "a cartoon {}.",
    "art of a {}.",
    "a sketch of the {}.",
    "a embroidered {}.",
    "a pixelated photo of a {}.",
    "itap of the {}.",
    "a jpeg corrupted photo of the {}.",
    "a good photo of a {}.",
    "a plushie {}.",
    "a photo of the nice {}.",
    "a photo of the small {}.",
    "a photo of the weird {}.",
    "the cartoon {}.",
    "art of the {}.",
    "a drawing of the {}.",
    "a photo of the large {}.",
    "a black and white photo of a {}.",
    "the plushie {}.",
    "a dark photo of a {}.",
    "itap of a {}.",
    "graffiti of the {}.",
    "a toy {}.",
    "itap of my {}.",
    "a photo of a cool {}.",
    "a photo of a small {}.",
    "a tattoo of the {}.",
)

# What stands before and after the label.
Frame = tuple[str, str]


def frames(template: str) -> tuple[Frame, ...]:
    """Return the sentences that a template stands for, each split where the label goes.

    Braces elsewhere than in the one `{}` are plain text. Raises LabelSetError.
    """
    return tuple(map(_split, _OPENAI_80 if template == OPENAI_80 else (template,)))


def _split(sentence: str) -> Frame:
    before, hole, after = sentence.partition("{}")
    if not hole or "{}" in after:
        raise LabelSetError(
            f"The template {sentence!r} must contain {{}} exactly once.",
            remedy=f'Write it as "a photo of a {{}}", or {OPENAI_80}.',
        )
    return before, after


def framed(texts: Iterable[str], around: Iterable[Frame]) -> list[str]:
    """Return every text in every sentence: all of the first text, then all of the second."""
    sentences = tuple(around)
    return [f"{before}{text}{after}" for text in texts for before, after in sentences]
