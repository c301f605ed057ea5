"""What stands before and after a text: two files that must say the same of it."""

import base64
import json
import struct

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from lumen_resources.errors import TokenizerError
from lumen_resources.model.contents import check_sides, load_tokenizer

GEMMA = {
    "bos_token": "<bos>",
    "eos_token": {"content": "<eos>"},
    "add_bos_token": False,
    "add_eos_token": True,
    "padding_side": "right",
}


def a_tokenizer(single: str) -> Tokenizer:
    numbers = {"<eos>": 1, "<bos>": 2, "a": 3}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="a"))
    special = [(token, numbers[token]) for token in ("<bos>", "<eos>") if token in single]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
    return tokenizer


@pytest.mark.parametrize(
    ("document", "single"),
    [
        (GEMMA, "$A <eos>"),
        ({**GEMMA, "add_bos_token": True}, "<bos> $A <eos>"),
        ({"eos_token": "<eos>", "add_eos_token": None}, "$A"),
        ({"add_eos_token": True}, "$A"),
        ({}, "<bos> $A"),
    ],
)
def test_files_that_agree_are_taken(document, single):
    check_sides("tokenizer_config.json", document, a_tokenizer(single))


@pytest.mark.parametrize(
    ("document", "single", "words"),
    [
        (GEMMA, "$A", "add_eos_token true; tokenizer.json does not add '<eos>'"),
        (GEMMA, "<bos> $A <eos>", "add_bos_token false; tokenizer.json adds '<bos>'"),
        ({**GEMMA, "padding_side": "left"}, "$A <eos>", "padding_side left"),
        ({**GEMMA, "truncation_side": "left"}, "$A <eos>", "truncation_side left"),
    ],
)
def test_files_that_contradict_each_other_are_refused(document, single, words):
    with pytest.raises(TokenizerError, match=words):
        check_sides("tokenizer_config.json", document, a_tokenizer(single))


def test_a_file_that_cuts_or_fills_texts_up_is_read_without_that(tmp_path):
    tokenizer = a_tokenizer("$A <eos>")
    tokenizer.enable_truncation(1)
    tokenizer.enable_padding(pad_id=2, pad_token="<bos>", length=1000)
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    assert loaded.encode("a").ids == [3, 1]
    check_sides("tokenizer_config.json", GEMMA, loaded)


REPLACES = [normalizers.Replace("a", "a" * 10)] * 30
EXPRESSIONS = [normalizers.Replace(Regex("x*"), "aa")] * 30
BYTES = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)] * 30
FRAMES = [processors.TemplateProcessing(single="$A $A", special_tokens=[])] * 30


@pytest.mark.parametrize(
    ("part", "steps"),
    [
        ("normalizer", normalizers.Sequence(REPLACES)),
        ("normalizer", normalizers.Sequence(EXPRESSIONS)),
        ("pre_tokenizer", pre_tokenizers.Sequence(BYTES)),
        ("post_processor", processors.Sequence(FRAMES)),
    ],
    ids=["texts", "expressions", "bytes", "frames"],
)
def test_a_file_whose_steps_write_a_text_out_without_end_is_refused_unrun(tmp_path, part, steps):
    tokenizer = a_tokenizer("$A")
    setattr(tokenizer, part, steps)
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    with pytest.raises(TokenizerError, match="may make a text "):
        load_tokenizer(tmp_path / "tokenizer.json")


def charsmap(written: bytes, *, at: int = 0, below: int = 256, units: int = 512) -> bytes:
    """A table of signs as sentencepiece has it: `a` becomes what is written from `at` on."""
    array = np.zeros(units, "<u4")
    array[0] = below << 10
    array[1] = at
    array[256 + ord("a")] = ord("a") | 1 << 8 | ((256 + ord("a")) ^ 1) << 10
    return struct.pack("<I", array.nbytes) + array.tobytes() + written


def test_a_table_of_signs_is_taken_as_far_as_it_writes_a_text_out(tmp_path):
    tokenizer = a_tokenizer("$A")
    tokenizer.normalizer = normalizers.Precompiled(charsmap(b"xyz\0"))
    assert tokenizer.normalizer.normalize_str("a") == "xyz"
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    load_tokenizer(tmp_path / "tokenizer.json")
    tokenizer.normalizer = normalizers.Sequence([tokenizer.normalizer] * 6)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match="times longer"):
        load_tokenizer(tmp_path / "tokenizer.json")


@pytest.mark.parametrize(
    "table",
    [
        charsmap(b"x" * 1000 + b"\0"),
        charsmap(b"xyz\0", at=9),
        charsmap("xé\0".encode(), at=2),
        charsmap(b"x\0", below=512),
        charsmap(b"x\0", units=400),
        charsmap(b"x\0", at=1)[:40],
    ],
    ids=["long", "behind the end", "inside a sign", "outside", "cut array", "cut table"],
)
def test_a_table_of_signs_that_leads_out_of_itself_or_writes_too_much_is_refused(tmp_path, table):
    tokenizer = a_tokenizer("$A")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    document = json.loads((tmp_path / "tokenizer.json").read_text())
    encoded = base64.b64encode(table).decode()
    document["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": encoded}
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))

    with pytest.raises(TokenizerError):
        load_tokenizer(tmp_path / "tokenizer.json")


def test_a_file_with_the_steps_of_published_ones_is_taken(tmp_path):
    tokenizer = a_tokenizer("<bos> $A <eos>")
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Replace(" ", "\u2581"),
            normalizers.Prepend("\u2581"),
            normalizers.Lowercase(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("[a-z]+"), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    assert load_tokenizer(tmp_path / "tokenizer.json").get_vocab_size() == 3
