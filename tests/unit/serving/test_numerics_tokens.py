"""Texts become tokens as open_clip makes them."""

import asyncio
from pathlib import Path

import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers
from tokenizers import Tokenizer as Core
from tokenizers.models import BPE

from lumen_resources.errors import TokenizerError, is_failure
from lumen_resources.model.layouts import Cleaning, TextRule
from lumen_serving.errors import BadText
from lumen_serving.media import text as tokens
from lumen_serving.media.cleaning import clean
from lumen_serving.media.text import MAX_CHARS, Tokenizer
from lumen_serving.media.vocabulary import Frame, frame_of

CONTEXT = 12
RULE = TextRule(CONTEXT)


def a_tokenizer() -> Tokenizer:
    core = tiny_models.a_tokenizer()
    return Tokenizer(core, frame_of(core, RULE, Path("tokenizer.json")), RULE)


def ends() -> tuple[int, int]:
    core = tiny_models.a_tokenizer()
    return core.token_to_id(tiny_models.START), core.token_to_id(tiny_models.END)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("A  Photo\tof\na CAT ", "a photo of a cat"),
        ("caf&eacute; &amp;amp; bar", "café & bar"),
        ("&amp;lt;3", "<3"),
        ("schÃ¶n", "schön"),
        ("“quoted”", '"quoted"'),
        ("\u3000wide\u00a0space", "wide space"),
        ("", ""),
    ],
)
def test_texts_are_cleaned_as_open_clip_cleans_them(text, cleaned):
    assert clean(text, Cleaning.LOWER) == cleaned


def test_tokens_are_framed_and_filled_with_zero():
    start, end = ends()

    rows, truncated = a_tokenizer().encode(["cat", "the dog"])

    assert rows.shape == (2, CONTEXT)
    assert rows.dtype.name == "int64"
    assert [rows[0, 0], rows[0, 2]] == [start, end]
    assert rows[0, 3:].tolist() == [0] * (CONTEXT - 3)
    assert rows[1, 3] == end
    assert truncated == (False, False)


def test_a_text_that_does_not_fit_keeps_its_end_token_and_says_so():
    start, end = ends()

    rows, truncated = a_tokenizer().encode(["cat " * 50, "cat " * (CONTEXT - 2)])

    assert rows[0, [0, -1]].tolist() == [start, end]
    assert 0 not in rows[0]
    assert truncated == (True, False)


def test_special_tokens_in_a_text_are_what_open_clip_makes_of_them():
    start, end = ends()

    rows, _ = a_tokenizer().encode(["<end_of_text> cat", "<|endoftext|>"])

    # open_clip spells them in its own way; in another they are words like others.
    assert rows[0, :2].tolist() == [start, end]
    assert end not in rows[1, 1:-1]


def test_a_very_long_text_is_cut_before_it_is_cleaned(monkeypatch):
    seen = []
    real = tokens.clean
    monkeypatch.setattr(
        tokens, "clean", lambda text, way: seen.append(len(text)) or real(text, way)
    )

    _, truncated = a_tokenizer().encode([" " * 10_000_000 + "cat"])

    assert seen == [MAX_CHARS]
    assert truncated == (True,)


@given(st.text(max_size=200))
def test_any_text_fits_the_context_and_ends_with_the_end_token(text):
    _, end = ends()

    rows, _ = a_tokenizer().encode([text])

    assert end in rows[0].tolist()
    assert rows.shape == (1, CONTEXT)


def a_model(path, rule=RULE):
    class Files:
        tokenizer = path

    class Model:
        name, files, text = "m", Files, rule

    return Model


def test_the_files_own_padding_and_truncation_are_ignored(tmp_path):
    core = tiny_models.a_tokenizer()
    core.enable_truncation(3)
    core.enable_padding(length=40, pad_id=7)
    core.save(str(tmp_path / "tokenizer.json"))

    rows, _ = Tokenizer.load(a_model(tmp_path / "tokenizer.json")).encode(["the cat of the dog"])

    assert rows.tolist() == a_tokenizer().encode(["the cat of the dog"])[0].tolist()


def a_panicking_core():
    """Patterns that backtrack beyond their limit make the library panic."""
    core = tiny_models.a_tokenizer()
    core.pre_tokenizer = pre_tokenizers.Split(Regex("(a+)+$"), "isolated")
    return core


def test_a_text_on_which_the_tokenizer_panics_is_refused_with_a_sentence():
    core = a_panicking_core()
    tokenizer = Tokenizer(core, Frame(*((one,) for one in ends())), RULE)

    with pytest.raises(BadText, match="tokenizer fails on this text"):
        tokenizer.encode(["a" * 60 + "!"])

    assert tokenizer.encode(["cat"])[0].shape == (1, CONTEXT)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"has no tokenizer\.json"),
        ("", "cannot be loaded"),
        ("{}", "cannot be loaded"),
        ('{"model": 3}', "cannot be loaded"),
        (Core(BPE(vocab={"a": 0}, merges=[])).to_str(), "start and end tokens"),
    ],
    ids=["none", "empty", "no model", "another model", "no frame"],
)
def test_a_tokenizer_that_cannot_be_used_is_refused_at_the_start(tmp_path, content, words):
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)

    with pytest.raises(TokenizerError, match=words) as refused:
        Tokenizer.load(a_model(None if content is None else path))

    assert refused.value.reason == "TokenizerInvalid"


def test_a_tokenizer_that_panics_on_ordinary_texts_is_refused_at_the_start(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(a_panicking_core().to_str())

    with pytest.raises(TokenizerError, match="fails on ordinary texts"):
        Tokenizer.load(a_model(path, TextRule(CONTEXT, frame="own")))


def test_a_panic_is_a_failure_and_an_interrupt_is_none():
    with pytest.raises(BaseException, match="retry-limit") as caught:
        a_panicking_core().encode("a" * 60 + "!")

    assert not isinstance(caught.value, Exception)
    assert is_failure(caught.value)
    assert not is_failure(KeyboardInterrupt())
    assert not is_failure(asyncio.CancelledError())


def test_a_tokenizer_file_that_makes_the_library_panic_is_refused(tmp_path, monkeypatch):
    with pytest.raises(BaseException, match="retry-limit") as caught:
        a_panicking_core().encode("a" * 60 + "!")
    (tmp_path / "tokenizer.json").write_text("{}")

    def panic(content):
        raise caught.value

    monkeypatch.setattr(Core, "from_buffer", panic)

    with pytest.raises(TokenizerError, match="retry-limit"):
        Tokenizer.load(a_model(tmp_path / "tokenizer.json"))
