"""Text rules other than CLIP's: cleaning, frames, filling, languages."""

import gzip
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_models
from tokenizers import Tokenizer as Core
from tokenizers import models, pre_tokenizers, processors

from lumen_resources.errors import TokenizerError
from lumen_resources.model.layouts import Cleaning, TextRule
from lumen_serving.errors import BadText
from lumen_serving.media import vocabulary
from lumen_serving.media.cleaning import clean
from lumen_serving.media.text import Tokenizer

SPECIAL = ("<pad>", "</s>", "<unk>", "[SEP]", "[CLS]", "deu_Latn", "fra_Latn")
WORDS = (*SPECIAL, "a", "cat", "Cat", "the", "dog")
ID = {word: number for number, word in enumerate(WORDS)}


def a_core(single: str = "$A </s>") -> Core:
    core = Core(models.WordLevel(ID, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(word, ID[word]) for word in SPECIAL if word in single]
    )
    return core


def a_tokenizer(tmp_path: Path, rule: TextRule, single: str = "$A </s>") -> Tokenizer:
    path = tmp_path / "tokenizer.json"
    path.write_text(a_core(single).to_str())
    return load(path, rule)


def load(path: Path | None, rule: TextRule) -> Tokenizer:
    files = SimpleNamespace(tokenizer=path)
    return Tokenizer.load(SimpleNamespace(name="m", files=files, text=rule))


@pytest.mark.parametrize(
    ("way", "cleaned"),
    [
        (Cleaning.NONE, " A  Cat&amp;dog, under_score! "),
        (Cleaning.WHITESPACE, "A Cat&dog, under_score!"),
        (Cleaning.LOWER, "a cat&dog, under_score!"),
        (Cleaning.CANONICALIZE, "a catdog under score"),
    ],
)
def test_each_way_to_clean_does_what_open_clip_means_by_it(way, cleaned):
    assert clean(" A  Cat&amp;dog, under_score! ", way) == cleaned


def test_the_files_own_frame_stands_around_a_text_and_the_rest_is_filled(tmp_path):
    rule = TextRule(6, Cleaning.WHITESPACE, frame="own", pad_id=1)

    rows, truncated = a_tokenizer(tmp_path, rule).encode(["the Cat", "a " * 9])

    assert rows.tolist() == [
        [ID["the"], ID["Cat"], 1, 1, 1, 1],
        [ID["a"]] * 5 + [1],
    ]
    assert truncated == (False, True)


def test_a_separator_that_is_stripped_becomes_zero(tmp_path):
    rule = TextRule(6, Cleaning.WHITESPACE, frame="own", pad_id=1, strip_sep=True)

    rows, _ = a_tokenizer(tmp_path, rule, "[CLS] $A [SEP]").encode(["the dog"])

    assert rows.tolist() == [[ID["[CLS]"], ID["the"], ID["dog"], 0, 1, 1]]


def test_a_language_comes_first_whatever_the_file_says(tmp_path):
    # Older files of this kind put the language behind the text.
    rule = TextRule(5, Cleaning.WHITESPACE, frame="own", pad_id=0, language="deu_Latn")

    rows, _ = a_tokenizer(tmp_path, rule, "$A </s> deu_Latn").encode(["the cat"])

    assert rows.tolist() == [[ID["deu_Latn"], ID["the"], ID["cat"], ID["</s>"], 0]]


def test_a_text_may_say_its_own_language(tmp_path):
    rule = TextRule(5, Cleaning.WHITESPACE, frame="own", pad_id=0, language="deu_Latn")
    tokenizer = a_tokenizer(tmp_path, rule)

    rows, _ = tokenizer.encode(["the cat", ""], "fra_Latn")

    assert rows[0].tolist() == [ID["fra_Latn"], ID["the"], ID["cat"], ID["</s>"], 0]
    assert [tokenizer.is_empty(row) for row in rows] == [False, True]


@pytest.mark.parametrize("language", ["xyz_Latn", "cat", "the", "</s>", "deu_Latn" * 100])
def test_a_language_that_the_model_knows_not_is_refused(tmp_path, language):
    rule = TextRule(5, Cleaning.WHITESPACE, frame="own", pad_id=0, language="deu_Latn")

    with pytest.raises(BadText, match="knows no language"):
        a_tokenizer(tmp_path, rule).encode(["the cat"], language)


def test_a_language_means_nothing_to_other_models(tmp_path):
    tokenizer = a_tokenizer(tmp_path, TextRule(5, Cleaning.WHITESPACE, frame="own"))

    plain, told = tokenizer.encode(["the cat"]), tokenizer.encode(["the cat"], "xyz_Latn")

    assert told[0].tolist() == plain[0].tolist()


def test_what_canonicalizing_leaves_nothing_of_is_empty(tmp_path):
    tokenizer = a_tokenizer(tmp_path, TextRule(6, Cleaning.CANONICALIZE, frame="own"))

    rows, _ = tokenizer.encode(["?!", "a?"])

    assert [tokenizer.is_empty(row) for row in rows] == [True, False]


@pytest.mark.parametrize(
    ("rule", "single", "words"),
    [
        (TextRule(1, frame="own"), "$A </s>", "0 tokens before and 1 after"),
        (TextRule(8, frame="own", language="xyz"), "$A </s>", "no token 'xyz'"),
        (TextRule(8, frame="own", pad_id=9999), "$A </s>", "no token 9999"),
        (TextRule(8, frame="own", strip_sep=True), "$A", "does not go with"),
        (TextRule(8, frame="own"), "[CLS] </s>", "leaves nothing of a text"),
        (TextRule(8, frame="own"), "$A </s> $A", "more than a start and an end"),
    ],
)
def test_a_file_that_does_not_fit_the_rule_is_refused(tmp_path, rule, single, words):
    with pytest.raises(TokenizerError, match=words):
        a_tokenizer(tmp_path, rule, single)


def test_a_list_of_merges_is_a_vocabulary(tmp_path):
    path = tmp_path / "merges.txt.gz"
    core = tiny_models.a_tokenizer()
    lines = ["#version", *(f"{a} {b}" for a, b in [("c", "a"), ("ca", "t</w>"), ("d", "o")])]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))

    built = vocabulary.byte_bpe(path)

    # Bytes, bytes that end a word, merges in order, the two ends.
    assert built.get_vocab_size() == 512 + 3 + 2
    assert built.token_to_id("cat</w>") == 513
    assert built.token_to_id("<end_of_text>") == 516
    assert built.token_to_id("a</w>") == core.token_to_id("a</w>")


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(b"v\none\n")], ids=["empty", "text", "short"]
)
def test_what_is_no_list_of_merges_is_refused(tmp_path, content):
    path = tmp_path / "merges.txt.gz"
    path.write_bytes(content)

    with pytest.raises(TokenizerError, match="list of merges"):
        vocabulary.byte_bpe(path)


def test_another_kind_than_clips_brings_its_own_file():
    with pytest.raises(TokenizerError, match=r"has no tokenizer\.json"):
        load(None, TextRule(8, frame="own"))
