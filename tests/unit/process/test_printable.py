"""What others wrote, in a form that a terminal only shows."""

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from lumen_process.printable import printable, printable_json

OBEYED = {"Cc", "Cs", "Zl", "Zp"}
ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))


def test_ordinary_text_of_any_script_stays_as_it_is():
    for text in ("robin [best].png", "Rotkehlchen äöü", "知更鸟", "أبو الحناء", "👩‍🔬 ok"):
        assert printable(text) == text


def test_escapes_read_as_python_writes_them():
    assert printable("\x1b[0m\x07\r\n\t\x9b\u202e\udcff") == r"\x1b[0m\x07\r\n\t\x9b\u202e\udcff"


def test_a_text_of_several_lines_keeps_the_characters_that_it_may():
    assert printable("a\n\tb\rc", keep="\n\t") == "a\n\tb\\rc"


@given(ANY_TEXT)
def test_nothing_that_a_terminal_obeys_is_left(text):
    assert not OBEYED & {unicodedata.category(character) for character in printable(text)}


@given(ANY_TEXT)
def test_what_is_printable_stays_so_a_second_time(text):
    assert printable(printable(text)) == printable(text)


@given(st.dictionaries(ANY_TEXT, st.lists(ANY_TEXT)))
def test_json_is_read_back_as_it_was(value):
    written = printable_json(value)

    assert json.loads(written) == value
    assert not OBEYED & {unicodedata.category(character) for character in written}


def test_json_takes_a_stand_in_for_what_it_does_not_know():
    assert printable_json({"at": {1}}, default=repr) == '{"at":"{1}"}'
    assert printable_json({"at": {1}, "name": "\udcff"}, default=repr) == (
        '{"at":"{1}","name":"\\udcff"}'
    )
