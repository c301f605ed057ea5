"""BERT's words alone, where there is no tokenizer.json."""

import pytest

from lumen_resources.errors import TokenizerError
from lumen_resources.model.choice import tokenizer_of
from lumen_resources.model.contents import load_tokenizer, refuse_cased_words
from lumen_resources.model.word_list import words_of

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "##s", "猫")


def a_list(tmp_path, content: bytes):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_a_words_number_is_its_line(end):
    content = (("\r\n" if end == "\r\n" else "\n").join(WORDS) + end).encode()

    assert words_of(content) == {word: number for number, word in enumerate(WORDS)}


def test_texts_are_split_as_bert_splits_them(tmp_path):
    tokenizer = load_tokenizer(a_list(tmp_path, "\n".join(WORDS).encode()))

    assert tokenizer.encode("A Cats 猫!").tokens == [
        "[CLS]",
        "a",
        "cat",
        "##s",
        "猫",
        "[UNK]",
        "[SEP]",
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"it has no \[UNK\]"),
        (b"[PAD]\n[UNK]\n[SEP]\na", r"it has no \[CLS\]"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n\xff", "utf-8"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path, content, words):
    with pytest.raises(TokenizerError, match=words):
        load_tokenizer(a_list(tmp_path, content))


def test_words_that_keep_their_case_are_refused():
    refuse_cased_words("vocab.txt", "tokenizer_config.json", {"do_lower_case": True})
    refuse_cased_words("tokenizer.json", "tokenizer_config.json", {"do_lower_case": False})
    with pytest.raises(TokenizerError, match="without case"):
        refuse_cased_words("vocab.txt", "tokenizer_config.json", {"do_lower_case": False})


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        ({"vocab.txt", "tokenizer.json"}, "tokenizer.json"),
        ({"vocab.txt", "textual/tokenizer.json"}, "textual/tokenizer.json"),
        ({"vocab.txt", "config.json"}, "vocab.txt"),
        ({"vocab.json", "merges.txt"}, None),
    ],
)
def test_words_are_the_last_choice(there, chosen):
    assert tokenizer_of(there) == chosen
