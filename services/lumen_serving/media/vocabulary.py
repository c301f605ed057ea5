"""The model's vocabulary, and what stands around each of its texts.

Read from tokenizer.json; a model in open_clip's layout that brings none has open_clip's own byte
BPE, which lies in the installed package. What CLIP's tokenizer files say about normalising and
splitting varies, and none says it as open_clip does it: for its kind both are set here.
"""

import gzip
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers

from lumen_manifest.reading.regular_files import read_bounded
from lumen_resources.errors import TokenizerError, is_failure, translated
from lumen_resources.model.contents import load_tokenizer
from lumen_resources.model.layouts import TextRule, VerifiedModel

# (start, end) of CLIP's byte-level BPE, and of the BERT vocabularies.
_FRAMES = (
    ("<|startoftext|>", "<|endoftext|>"),
    ("<start_of_text>", "<end_of_text>"),
    ("[CLS]", "[SEP]"),
)
# How open_clip spells them: in a text these two, and no others, are those tokens.
_SPELT = ("<start_of_text>", "<end_of_text>")
_SPELT_PATTERN = re.compile("|".join(map(re.escape, _SPELT)))
_WORD_END = "</w>"
# It ignores case, and a long s is an s then.
_WORDS = r"'[sſ]|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_BPE_FILE = "bpe_simple_vocab_16e6.txt.gz"
_BPE_WORDS = 49408
_MAX_BPE_BYTES = 16 << 20
_ENDS_A_TEXT = "</s>"
_PROBE = "a"


@dataclass(frozen=True, slots=True)
class Frame:
    """The tokens before and after a text; `spelt` are those that a text itself may call for."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    spelt: tuple[int, int] | None = None

    def room(self, context_length: int) -> int:
        """Return how many tokens of a text fit."""
        return context_length - len(self.before) - len(self.after)


def open_vocabulary(model: VerifiedModel) -> tuple[tokenizers.Tokenizer, Path]:
    """Return the tokenizer and the file it comes from.

    Raises:
        TokenizerError: there is none, or one that cannot be used.

    """
    path = model.files.tokenizer
    if path is not None:
        core = load_tokenizer(path)
    else:
        path = _open_clips_own() if model.text.frame == "clip" else None
        if path is None:
            raise TokenizerError(
                f"The model {model.name} has no tokenizer.json, so no text can be embedded.",
                remedy="Add the tokenizer.json of the checkpoint to the model's folder.",
            )
        core = byte_bpe(path)
    return core, path


def frame_of(core: tokenizers.Tokenizer, rule: TextRule, path: Path) -> Frame:
    """Return what stands around each text, and make the tokenizer split texts by the rule.

    Raises:
        TokenizerError: the tokenizer has no such tokens, or the context no room for a text.

    """
    if rule.frame == "clip":
        frame = _clip_frame(core, path)
    elif rule.language:
        frame = Frame((_known(core, rule.language, path),), (_known(core, _ENDS_A_TEXT, path),))
    else:
        frame = _own_frame(core, path)
    if core.id_to_token(rule.pad_id) is None:
        raise _odd(path, f"has no token {rule.pad_id}, with which texts are to be filled up")
    if frame.room(rule.context_length) < 1 or (rule.strip_sep and not frame.after):
        raise TokenizerError(
            f"{path.name} puts {len(frame.before)} tokens before and {len(frame.after)} after each "
            f"text, which does not go with texts of {rule.context_length} tokens.",
            remedy="Set extra_metadata.lumen.context_length in model_info.json to what the model "
            "was trained with.",
            file=str(path),
        )
    return frame


def spelt_out(core: tokenizers.Tokenizer, frame: Frame, text: str) -> list[int]:
    """Return the ids of a cleaned text, without its frame."""
    if frame.spelt is None or "<" not in text:
        return _ids(core, text)
    ids: list[int] = []
    at = 0
    for found in _SPELT_PATTERN.finditer(text):
        ids += _ids(core, text[at : found.start()])
        ids.append(frame.spelt[_SPELT.index(found.group())])
        at = found.end()
    return ids + _ids(core, text[at:])


def _ids(core: tokenizers.Tokenizer, text: str) -> list[int]:
    ids: list[int] = core.encode(text, add_special_tokens=False).ids
    return ids


def _clip_frame(core: tokenizers.Tokenizer, path: Path) -> Frame:
    for start, end in _FRAMES:
        first, last = core.token_to_id(start), core.token_to_id(end)
        if first is None or last is None:
            continue
        if getattr(core.model, "end_of_word_suffix", None) != _WORD_END:
            return Frame((first,), (last,))
        _split_as_open_clip(core)
        return Frame((first,), (last,), spelt=(first, last))
    raise TokenizerError(
        f"{path.name} has none of the known start and end tokens.",
        remedy="Use the tokenizer of a CLIP model: <|startoftext|> and <|endoftext|>.",
        file=str(path),
    )


def _split_as_open_clip(core: tokenizers.Tokenizer) -> None:
    """Let the ready cleaned text be split into words by open_clip's pattern, and nothing else."""
    core.normalizer = normalizers.Sequence([])
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.encode_special_tokens = True  # "<|endoftext|>" in a text is a word like others


def _own_frame(core: tokenizers.Tokenizer, path: Path) -> Frame:
    """Return what the file's post-processor adds, as seen on a text of one word."""
    try:
        framed, bare = core.encode(_PROBE), core.encode(_PROBE, add_special_tokens=False)
    except BaseException as error:
        if not is_failure(error):
            raise
        raise _odd(path, "fails on a text of one word") from error
    body = [at for at, special in enumerate(framed.special_tokens_mask) if not special]
    if not body:
        raise _odd(path, "leaves nothing of a text")
    before, after = framed.ids[: body[0]], framed.ids[body[-1] + 1 :]
    if framed.ids != [*before, *bare.ids, *after]:
        raise _odd(path, "puts more than a start and an end to a text")
    return Frame(tuple(before), tuple(after))


def _known(core: tokenizers.Tokenizer, token: str, path: Path) -> int:
    number: int | None = core.token_to_id(token)
    if number is None:
        raise _odd(path, f"has no token {token!r}, which every text needs")
    return number


def _odd(path: Path, found: str) -> TokenizerError:
    return TokenizerError(
        f"{path.name} {found}.",
        remedy="Replace it by the tokenizer.json that the model was published with.",
        file=str(path),
    )


def _open_clips_own() -> Path | None:
    """Return the file of open_clip's byte BPE, None where the package is not installed."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).with_name(_BPE_FILE)


def byte_bpe(path: Path) -> tokenizers.Tokenizer:
    """Build the tokenizer from a gzipped list of merges: bytes, bytes that end a word, merges.

    Raises:
        TokenizerError: the file is no such list.

    """
    with translated(path, "reading"):
        packed = read_bounded(path, _MAX_BPE_BYTES)
    try:
        merges = list(_merges(gzip.decompress(packed).decode()))
    except (OSError, EOFError, ValueError) as error:
        raise _odd(path, "is not a list of merges") from error
    if not merges:
        raise _odd(path, "is an empty list of merges")
    letters = _byte_letters()
    words = [*letters, *(f"{one}{_WORD_END}" for one in letters), *map("".join, merges), *_SPELT]
    numbers = {word: number for number, word in enumerate(words)}
    core = tokenizers.Tokenizer(
        models.BPE(numbers, merges, end_of_word_suffix=_WORD_END, unk_token=_SPELT[1])
    )
    core.add_special_tokens([AddedToken(token, normalized=False) for token in _SPELT])
    return core


def _merges(text: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs; the first line is a version, and what CLIP does not use follows them."""
    used = _BPE_WORDS - 2 * 256 - len(_SPELT)
    for line in text.split("\n")[1 : used + 1]:
        first, second = line.split()
        yield first, second


def _byte_letters() -> list[str]:
    """Return GPT-2's printable letter for each byte, the printable bytes first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = 256 - len(printable)
    return [*map(chr, printable), *(chr(256 + at) for at in range(rest))]
