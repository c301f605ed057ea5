"""CLIP's byte-level BPE with merges of our own, as merges and as tokenizer.json.

The merges are learned from the captions; the vocabulary has open_clip's order
(256 bytes, 256 bytes that end a word, merges, start, end), so that open_clip's own
tokenizer and the `tokenizers` library give the same ids. Text ends with the highest id,
which is where CLIP's text tower looks.
"""

import gzip
import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

CONTEXT_LENGTH = 77
START, END = "<|startoftext|>", "<|endoftext|>"
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
# The captions are ASCII; this is the same rule without Unicode classes.
_ASCII_WORDS = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+")

Merge = tuple[str, str]


def learn_merges(texts: Iterable[str], count: int) -> list[Merge]:
    """Return up to `count` merges, the most frequent pair first; ties go by the alphabet."""
    frequency = Counter(word for text in texts for word in _ASCII_WORDS.findall(text.lower()))
    words = {word: (*word[:-1], f"{word[-1]}</w>") for word in frequency}
    merges: list[Merge] = []
    while len(merges) < count:
        pairs: Counter[Merge] = Counter()
        for word, pieces in words.items():
            for pair in pairwise(pieces):
                pairs[pair] += frequency[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {word: _merged(pieces, best) for word, pieces in words.items()}
    return merges


def _merged(pieces: tuple[str, ...], pair: Merge) -> tuple[str, ...]:
    result: list[str] = []
    index = 0
    while index < len(pieces):
        if pieces[index : index + 2] == pair:
            result.append("".join(pair))
            index += 2
        else:
            result.append(pieces[index])
            index += 1
    return tuple(result)


def vocabulary(merges: list[Merge]) -> dict[str, int]:
    """Return token to id in open_clip's order; the pad id 0 is the byte "!"."""
    letters = list(bytes_to_unicode().values())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(m) for m in merges)]
    return {token: index for index, token in enumerate([*tokens, START, END])}


def build_tokenizer(merges: list[Merge]) -> Tokenizer:
    """Return the tokenizer as CLIP's is published: no truncation or padding of its own."""
    vocab = vocabulary(merges)
    tokenizer = Tokenizer(
        models.BPE(vocab, merges, unk_token=END, end_of_word_suffix="</w>", fuse_unk=False)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.RobertaProcessing(
        (END, vocab[END]), (START, vocab[START]), trim_offsets=False, add_prefix_space=False
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(START, special=True), AddedToken(END, special=True)])
    return tokenizer


def open_clip_tokenizer(merges: list[Merge], folder: Path) -> SimpleTokenizer:
    """Return open_clip's tokenizer over the same merges (it reads them from a file)."""
    path = folder / "merges.txt.gz"
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    return SimpleTokenizer(bpe_path=str(path))


def token_ids(tokenizer: Tokenizer, texts: list[str]) -> np.ndarray:
    """Return int64 [len(texts), 77], padded with 0, cut so that the end token stays."""
    ids = np.zeros((len(texts), CONTEXT_LENGTH), np.int64)
    for row, encoding in enumerate(tokenizer.encode_batch(texts)):
        kept = encoding.ids[:CONTEXT_LENGTH]
        kept[-1] = encoding.ids[-1]
        ids[row, : len(kept)] = kept
    return ids
