"""Every pretrained tag of open_clip, with what decides its vectors: facts, not code.

For names as `arch::tag`, and for checkpoints that lie in a repository without a configuration.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, cast

TABLE = "open_clip_tags.tsv"
# By the table's name: mean and std of each channel, for values in 0..1.
NORMALISATIONS: Mapping[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "openai": (
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    ),
    "0.5": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "0/1": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
_OWN_TOKENIZER = "clip-bpe"


@dataclass(frozen=True, slots=True)
class OpenClipTag:
    """One pretrained tag.

    `file` is empty when `repository` has open_clip's own layout. `tokenizer` names the repository
    of a tokenizer, empty for open_clip's byte-level BPE; `cleaning` and `strip_sep` are its
    options. `has_bias` means sigmoid scores.
    """

    architecture: str
    tag: str
    repository: str
    file: str
    image_size: int
    resize_mode: Literal["shortest", "squash"]
    interpolation: Literal["bicubic", "bilinear"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    embedding_dim: int
    tokenizer: str
    cleaning: Literal["lower", "whitespace", "canonicalize"]
    strip_sep: bool
    context_length: int
    quick_gelu: bool
    causal: bool
    has_bias: bool

    @property
    def name(self) -> str:
        """The name as people write it."""
        return f"{self.architecture}::{self.tag}"


@cache
def open_clip_tags() -> tuple[OpenClipTag, ...]:
    """Return the table."""
    text = files("lumen_terms").joinpath(TABLE).read_text(encoding="utf-8")
    return tuple(_tag(line) for line in text.splitlines() if not line.startswith("#"))


def find_tag(name: str) -> OpenClipTag | None:
    """Return what a name stands for: `arch::tag`, `arch__tag`, or a repository.

    Of several architectures in one repository the first.
    """
    wanted = name.replace("::", "__").casefold()
    return next((t for t in open_clip_tags() if wanted in _spellings(t)), None)


def architecture_tags(architecture: str) -> Iterator[OpenClipTag]:
    """Yield the tags of an architecture, however its name is written: `mobileclip2_s0`."""
    wanted = _letters(architecture)
    return (t for t in open_clip_tags() if _letters(t.architecture) == wanted)


def _spellings(tag: OpenClipTag) -> tuple[str, str]:
    return f"{tag.architecture}__{tag.tag}".casefold(), tag.repository.casefold()


def _letters(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def _tag(line: str) -> OpenClipTag:
    columns = line.split("\t")
    architecture, tag, place, size, resize, interpolation, normalisation, dim = columns[:8]
    tokenizer, options, context, gelu, causality, bias = columns[8:]
    owner, repository, file = place.split("/")
    mean, std = NORMALISATIONS[normalisation]
    said = json.loads(options)
    own = tokenizer == _OWN_TOKENIZER
    return OpenClipTag(
        architecture=architecture,
        tag=tag,
        repository=f"{owner}/{repository}",
        file=file,
        image_size=int(size),
        resize_mode=cast("Literal['shortest', 'squash']", resize),
        interpolation=cast("Literal['bicubic', 'bilinear']", interpolation),
        mean=mean,
        std=std,
        embedding_dim=int(dim),
        tokenizer="" if own else tokenizer,
        cleaning=said.get("clean", "lower" if own else "whitespace"),
        strip_sep=said.get("strip_sep_token", False),
        context_length=int(context),
        quick_gelu=gelu == "quickgelu",
        causal=causality != "noncausal",
        has_bias=bias == "bias",
    )
