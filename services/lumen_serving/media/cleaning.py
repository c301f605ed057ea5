"""What happens to a text before it is tokenised: open_clip's four ways, letter by letter.

Each repairs a text first (ftfy, HTML entities twice). `whitespace` joins its words by one space,
`lower` lowers it as well, `canonicalize` also drops ASCII punctuation and takes `_` for a space
(big_vision's way, with which SigLIP was trained). `none` leaves everything to the tokenizer.
"""

import html
import string
from collections.abc import Callable, Mapping

import ftfy

from lumen_resources.model.layouts import Cleaning

_NO_PUNCTUATION = str.maketrans("_", " ", string.punctuation.replace("_", ""))


def clean(text: str, cleaning: Cleaning) -> str:
    """Return the text as a model with this rule was shown it."""
    return _WAYS[cleaning](text)


def _as_given(text: str) -> str:
    return text


def _repaired(text: str) -> str:
    return html.unescape(html.unescape(ftfy.fix_text(text)))


def _one_spaced(text: str) -> str:
    return " ".join(_repaired(text).split())


def _lowered(text: str) -> str:
    return _one_spaced(text).lower()


def _canonical(text: str) -> str:
    return " ".join(_repaired(text).translate(_NO_PUNCTUATION).lower().split())


_WAYS: Mapping[Cleaning, Callable[[str], str]] = {
    Cleaning.LOWER: _lowered,
    Cleaning.WHITESPACE: _one_spaced,
    Cleaning.CANONICALIZE: _canonical,
    Cleaning.NONE: _as_given,
}
