"""Texts to token rows, as the model's text rule says: open_clip's rows to the integer.

A text is cleaned, tokenised by the model's `tokenizer.json`, framed by the tokens that stand before
and after every text, cut so that the frame stays, and filled up. `vocabulary` reads the file,
`cleaning` has the ways to clean.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray

from lumen_resources.errors import TokenizerError, is_failure
from lumen_resources.model.layouts import TextRule, VerifiedModel
from lumen_serving.errors import BadText
from lumen_serving.media.cleaning import clean
from lumen_serving.media.vocabulary import Frame, frame_of, open_vocabulary, spelt_out
from lumen_wire.meta import quoted

# No model reads more: the longest context is some dozens of words. It bounds what cleaning costs.
MAX_CHARS = 8192
# NLLB's codes: a language and its script.
_LANGUAGE = re.compile(r"[a-z]{2,3}_[A-Z][a-z]{3}")
# Words, a long word, digits and signs, letters of other scripts, and nothing.
_PROBES = ("a photo of a cat, 12 o'clock!", "a" * 500 + "!", "schön 写真 🦋", "")


class Tokenizer:
    """The tokenizer of one model; `encode` may be called from many threads."""

    def __init__(self, core: tokenizers.Tokenizer, frame: Frame, rule: TextRule) -> None:
        self._core = core
        self._frame = frame
        self._rule = rule
        self._blank = self._row([], frame)

    @classmethod
    def load(cls, model: VerifiedModel) -> "Tokenizer":
        """Read the model's tokenizer.

        Raises:
            TokenizerError: it has none, or one that cannot be used.

        """
        core, path = open_vocabulary(model)
        tokenizer = cls(core, frame_of(core, model.text, path), model.text)
        tokenizer._prove(path)
        return tokenizer

    def encode(
        self, texts: Sequence[str], language: str = ""
    ) -> tuple[NDArray[np.int64], tuple[bool, ...]]:
        """Return int64 [N, L], and for each text whether a part of it did not fit.

        A text longer than MAX_CHARS is cut there before it is looked at. `language` takes the
        place of the rule's own in a model whose texts begin with one; others have no use for it.

        Raises:
            BadText: the tokenizer's own rules fail on a text, or the language is unknown.

        """
        frame = self._frame_in(language) if language and self._rule.language else self._frame
        rows = np.empty((len(texts), self._rule.context_length), np.int64)
        room = frame.room(self._rule.context_length)
        truncated = []
        for row, text in enumerate(texts):
            ids = self._ids(clean(text[:MAX_CHARS], self._rule.cleaning))
            rows[row] = self._row(ids[:room], frame)
            truncated.append(len(ids) > room or len(text) > MAX_CHARS)
        return rows, tuple(truncated)

    def ordinary_rows(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the rows of a few ordinary texts [N, L], and where a token is the text's own."""
        rows, _ = self.encode(_PROBES)
        return rows, ~np.isin(rows, self._blank)

    def is_empty(self, row: NDArray[np.int64]) -> bool:
        """Whether nothing was left of a text: it was white space, or what nobody sees."""
        begin = len(self._frame.before)
        return bool(np.array_equal(row[begin:], self._blank[begin:]))

    def _frame_in(self, language: str) -> Frame:
        number = self._core.token_to_id(language) if _LANGUAGE.fullmatch(language) else None
        if number is None:
            raise BadText(
                f"The model knows no language {quoted(language)}. Send a code such as eng_Latn or "
                "deu_Latn."
            )
        return Frame((number,), self._frame.after)

    def _row(self, body: Sequence[int], frame: Frame) -> NDArray[np.int64]:
        """Return int64 [L]: the framed ids, filled up."""
        row = np.full(self._rule.context_length, self._rule.pad_id, np.int64)
        framed = (*frame.before, *body, *frame.after)
        row[: len(framed)] = framed
        if self._rule.strip_sep:  # open_clip writes 0 for it, whatever fills the rest
            row[row == frame.after[-1]] = 0
        return row

    def _ids(self, cleaned: str) -> list[int]:
        try:
            return spelt_out(self._core, self._frame, cleaned)
        except BaseException as error:  # a pattern that backtracks too long makes it panic
            if not is_failure(error):
                raise
            raise BadText(
                "The model's tokenizer fails on this text. Send a shorter or a simpler one."
            ) from error

    def _prove(self, path: Path) -> None:
        """Refuse at the start what would fail on every text."""
        try:
            self.encode(_PROBES)
        except BadText as error:
            raise TokenizerError(
                f"{path.name} fails on ordinary texts.",
                remedy="Replace it by the tokenizer.json that the model was published with.",
                file=str(path),
            ) from error
