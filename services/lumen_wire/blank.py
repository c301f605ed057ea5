"""Texts that hold nothing to read: the one rule for who sends a text and who is sent one. Pure."""

import re
import unicodedata

# Characters that are letters or signs to Unicode and that no font draws: joiners, fillers,
# variation selectors, the blank of Braille.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U0001d159\U000e0000-\U000e0fff]"
)
# Control and format characters, and separators.
_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})


def is_blank(text: str) -> bool:
    r"""Whether a text shows nothing: it is empty, or white, control and zero-width characters.

    >>> is_blank(" \u200b\x07\ufe0f"), is_blank("\u200ba")
    (True, False)
    """
    return all(
        unicodedata.category(character) in _UNSEEN_CATEGORIES or _UNSEEN.match(character)
        for character in text
    )
