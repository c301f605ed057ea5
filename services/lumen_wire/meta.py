"""The request's meta, parsed once at the door into a frozen dataclass.

Keys that are not ours are left alone: older clients send some.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from lumen_terms.taxonomy import LabelFormat, Rank
from lumen_wire import tasks
from lumen_wire.errors import InvalidArgument

TOP_K_SPELLINGS = ("topk", "top_k", "TopK", "topK", "top-k", "lumen.top_k")
BIOATLAS = "bioatlas"

# A number longer than this is clamped to a round one: it exceeds any label set anyway.
_LONGEST_COUNT = 18
_QUOTE_CHARACTERS = 64
# Terms of one filter, and the length of each: reading them costs the event loop about a
# millisecond, here and in the router.
MOST_TERMS = 1024
LONGEST_TERM = 256
# Branches of several ranks, each of which is a pass or two over all labels.
MOST_NARROWED = 64


class Score(StrEnum):
    """What the scores of labels are."""

    SHARE = "share"
    COSINE = "cosine"


class VectorFormat(StrEnum):
    """How an embedding is written."""

    JSON = "json"
    F32LE = "f32le"


class ErrorMode(StrEnum):
    """How a failed request is answered."""

    AUTO = "auto"
    INBAND = "inband"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Include:
    """A label whose lineage has `value` at `rank` (compared without case)."""

    rank: Rank
    value: str


# Of one rank any may hold, of several ranks each must.
Branch = tuple[Include, ...]


@dataclass(frozen=True, slots=True)
class RequestMeta:
    """What a request asks for beside its payload; None and empty mean: not said.

    `include` keeps the labels on any of its branches.
    `tensor` says that the payload claims to be preprocessed, which nobody here offers.
    """

    top_k: int | None = None
    service: str | None = None
    namespace: str | None = None
    labels: str | None = None
    label_format: LabelFormat | None = None
    rank: Rank | None = None
    include: tuple[Branch, ...] = ()
    score: Score = Score.SHARE
    vector: VectorFormat = VectorFormat.JSON
    prompt_template: bool = False
    language: str | None = None
    embedding_space: str | None = None
    error_mode: ErrorMode = ErrorMode.AUTO
    tensor: bool = False


_NOTHING_SAID = RequestMeta()
_RANKS = frozenset(rank.value for rank in Rank)
_E = TypeVar("_E", bound=StrEnum)


def parse_request_meta(meta: Mapping[str, str]) -> RequestMeta:
    """Return what a request's meta asks for.

    Raises InvalidArgument with a sentence that names the key and what it may be.
    """
    if not meta:
        return _NOTHING_SAID
    return RequestMeta(
        top_k=_top_k(meta),
        service=meta.get("service") or None,
        namespace=meta.get("namespace") or None,
        labels=meta.get("labels") or None,
        label_format=_choice(meta, "label_format", LabelFormat),
        rank=_choice(meta, "rank", Rank),
        include=_include(meta["include"]) if "include" in meta else (),
        score=_choice(meta, "score", Score) or Score.SHARE,
        vector=_choice(meta, "vector", VectorFormat) or VectorFormat.JSON,
        prompt_template=_prompt_template(meta),
        language=meta.get("language") or None,
        embedding_space=meta.get("embedding_space") or None,
        error_mode=_choice(meta, "error_mode", ErrorMode) or ErrorMode.AUTO,
        tensor=meta.get("lumen.input.kind") == "tensor",
    )


def check_namespace(meta: RequestMeta, family: str) -> None:
    """Raise InvalidArgument when a species service is asked for another namespace than its own."""
    if family == tasks.BIOCLIP and meta.namespace not in {None, BIOATLAS}:
        raise InvalidArgument(
            f'meta "namespace" is {quoted(meta.namespace or "")}, but this service knows only'
            f' "{BIOATLAS}". Leave it out or send "{BIOATLAS}".'
        )


def normalise_mime(mime: str) -> str:
    """Return a mime type in lower case without parameters; `image/jpg` is `image/jpeg`."""
    bare = mime.partition(";")[0].strip().lower()
    return "image/jpeg" if bare == "image/jpg" else bare


def quoted(text: str) -> str:
    """Return a caller's own text for an error message: short, printable, in quotes."""
    shown = text if len(text) <= _QUOTE_CHARACTERS else text[:_QUOTE_CHARACTERS] + "..."
    return '"' + "".join(c if c.isprintable() else "?" for c in shown) + '"'


def _top_k(meta: Mapping[str, str]) -> int | None:
    found = {s: _count(s, meta[s]) for s in TOP_K_SPELLINGS if s in meta}
    if not found:
        return None
    if len(set(found.values())) > 1:
        said = ", ".join(f"{key}={value}" for key, value in found.items())
        raise InvalidArgument(f"meta asks for different numbers of labels ({said}). Send one.")
    return next(iter(found.values()))


def _count(key: str, text: str) -> int:
    digits = text.strip()
    if digits.isascii() and digits.isdigit():
        value = int(digits) if len(digits) <= _LONGEST_COUNT else 10**_LONGEST_COUNT
        if value > 0:
            return value
    raise InvalidArgument(f'meta "{key}" is {quoted(text)}. Send a whole number from 1 up.')


def _choice(meta: Mapping[str, str], key: str, choices: type[_E]) -> _E | None:
    text = meta.get(key)
    if not text:
        return None
    try:
        return choices(text.strip().lower())
    except ValueError:
        allowed = ", ".join(c.value for c in choices)
        raise InvalidArgument(f'meta "{key}" is {quoted(text)}. Send one of: {allowed}.') from None


def _include(text: str) -> tuple[Branch, ...]:
    """Return the branches of `class=Aves,order=Passeriformes;class=Mammalia`."""
    entries = [part for part in text.split(";") if part.strip()]
    terms = [[term for term in entry.split(",") if term.strip()] for entry in entries]
    count = sum(map(len, terms))
    if count > MOST_TERMS or any(len(term) > LONGEST_TERM for each in terms for term in each):
        raise InvalidArgument(
            f'meta "include" has {count} filters; at most {MOST_TERMS} of'
            f" {LONGEST_TERM} characters each are read. Name a broader rank."
        )
    branches = tuple(tuple(_term(term, text) for term in each) for each in terms if each)
    narrowed = sum(len({one.rank for one in branch}) > 1 for branch in branches)
    if narrowed > MOST_NARROWED:
        raise InvalidArgument(
            f'meta "include" has {narrowed} branches of several ranks; at most {MOST_NARROWED}'
            " are read. Name the lowest rank alone."
        )
    return branches


def _term(term: str, text: str) -> Include:
    rank, equals, value = (piece.strip() for piece in term.partition("="))
    if not equals or not value or rank.lower() not in _RANKS:
        ranks = ", ".join(r.value for r in Rank)
        raise InvalidArgument(
            f'meta "include" is {quoted(text)}. Send RANK=NAME such as class=Aves;'
            f" ranks are {ranks}."
        )
    return Include(Rank(rank.lower()), value)


def _prompt_template(meta: Mapping[str, str]) -> bool:
    text = meta.get("prompt", "").strip().lower()
    if text not in {"", "template", "raw", "none"}:
        raise InvalidArgument(
            f'meta "prompt" is {quoted(text)}. Send "template" for "a photo of a {{}}",'
            " or leave it out."
        )
    return text == "template"
