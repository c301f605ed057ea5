"""Texts to token rows, as open_clip does it.

Cleaned (ftfy, HTML entities twice, white space, lower case), framed by the start and end tokens,
cut at the context length with the end token kept, filled up with 0. The vocabulary and merges come
from the model's `tokenizer.json`; its own normaliser runs after ours and finds nothing to change.
"""

import html
import re
from collections.abc import Sequence
from pathlib import Path

import ftfy
import numpy as np
import tokenizers
from numpy.typing import NDArray

from lumen_resources.errors import TokenizerError, is_failure
from lumen_resources.model.contents import load_tokenizer
from lumen_resources.model.layouts import VerifiedModel
from lumen_serving.errors import BadText

# No model reads more: the longest context is some dozens of words. It bounds what cleaning costs.
MAX_CHARS = 8192
# (start, end) of CLIP's byte-level BPE, and of the BERT vocabularies (Chinese CLIP).
_FRAMES = (
    ("<|startoftext|>", "<|endoftext|>"),
    ("<start_of_text>", "<end_of_text>"),
    ("[CLS]", "[SEP]"),
)
# Words, a long word, digits and signs, letters of other scripts, and nothing.
_PROBES = ("a photo of a cat, 12 o'clock!", "a" * 500 + "!", "schön 写真 🦋", "")
_SPACE = re.compile(r"\s+")


class Tokenizer:
    """The tokenizer of one model; `encode` may be called from many threads."""

    def __init__(self, core: tokenizers.Tokenizer, frame: tuple[int, int], context: int) -> None:
        self._core = core
        self._start, self._end = frame
        self._context = context

    @classmethod
    def load(cls, model: VerifiedModel) -> "Tokenizer":
        """Read the model's tokenizer.

        Raises:
            TokenizerError: it has none, or one that cannot be used.

        """
        path = model.files.tokenizer
        if path is None:
            raise TokenizerError(
                f"The model {model.name} has no tokenizer.json, so no text can be embedded.",
                remedy="Add the tokenizer.json of the checkpoint to the model's folder.",
            )
        core = load_tokenizer(path)
        # Framing, cutting and filling are ours: what the file says about them varies.
        core.no_truncation()
        core.no_padding()
        tokenizer = cls(core, _frame(core, path), model.context_length)
        tokenizer._prove(path)
        return tokenizer

    def encode(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], tuple[bool, ...]]:
        """Return int64 [N, L], and for each text whether a part of it did not fit.

        A text longer than MAX_CHARS is cut there before it is looked at.

        Raises:
            BadText: the tokenizer's own rules fail on a text.

        """
        rows = np.zeros((len(texts), self._context), np.int64)
        room = self._context - 2
        truncated = []
        for row, text in enumerate(texts):
            ids = self._ids(clean(text[:MAX_CHARS]))
            body = ids[:room]
            rows[row, : len(body) + 2] = (self._start, *body, self._end)
            truncated.append(len(ids) > room or len(text) > MAX_CHARS)
        return rows, tuple(truncated)

    def is_empty(self, row: NDArray[np.int64]) -> bool:
        """Whether nothing was left of a text: it was white space, or what nobody sees."""
        return bool(row[1] == self._end)

    def _ids(self, cleaned: str) -> list[int]:
        try:
            ids: list[int] = self._core.encode(cleaned, add_special_tokens=False).ids
        except BaseException as error:  # a pattern that backtracks too long makes it panic
            if not is_failure(error):
                raise
            raise BadText(
                "The model's tokenizer fails on this text. Send a shorter or a simpler one."
            ) from error
        return ids

    def _prove(self, path: Path) -> None:
        """Refuse at the start what would fail on every text."""
        try:
            self.encode(_PROBES)
        except BadText as error:
            raise TokenizerError(
                "tokenizer.json fails on ordinary texts.",
                remedy="Replace it by the tokenizer.json that the model was published with.",
                file=str(path),
            ) from error


def clean(text: str) -> str:
    """Return the text as open_clip's tokenizer cleans it."""
    repaired = html.unescape(html.unescape(ftfy.fix_text(text)))
    return _SPACE.sub(" ", repaired.strip()).strip().lower()


def _frame(core: tokenizers.Tokenizer, path: Path) -> tuple[int, int]:
    for start, end in _FRAMES:
        first, last = core.token_to_id(start), core.token_to_id(end)
        if first is not None and last is not None:
            return first, last
    raise TokenizerError(
        "tokenizer.json has none of the known start and end tokens.",
        remedy="Use the tokenizer of a CLIP model: <|startoftext|> and <|endoftext|>.",
        file=str(path),
    )
