"""Which texts hold nothing to read?"""

import pytest

from lumen_wire.blank import is_blank


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "\t\r\n\v\f", "\x00\x01\x1f\x7f", "\x80\x9f", "\xa0\u2003\u3000"),
        *("\u200b\u200c\u200d\u2060", "\ufeff", "\u202e\u2066", "\u00ad", "\ufe0f", "\u034f"),
        *("\u115f\u1160\u3164\uffa0", "\u2800", "\u2028\u2029", "\U000e0041\U000e0101"),
        "\u180e\u17b4",
    ],
)
def test_what_nobody_sees_is_blank(text):
    assert is_blank(text)
    assert is_blank(text * 3)
    assert not is_blank(f"{text}a")


@pytest.mark.parametrize("text", [".", "0", "_", "é", "写", "🦋", "👁\ufe0f", "\u0301", "\ue000"])
def test_what_shows_anything_is_not(text):
    assert not is_blank(text)
