"""Checks what is inside verified files: a right digest of a wrong file helps nobody.

No runtime is loaded: configurations are parsed, the tokenizer is loaded, graphs and matrices are
judged by their headers. What stands beside tokenizer.json and decides a vector must agree with what
is done with texts (`TextRule`, which `lumen_serving.media.text` follows).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from tokenizers import Tokenizer

from lumen_manifest.reading.regular_files import open_regular, read_bounded
from lumen_resources.errors import ResourceValidationError, TokenizerError, is_failure, translated
from lumen_resources.json_text import parse_json, utf8
from lumen_resources.model.configs import token_text
from lumen_resources.model.layouts import ChosenFiles, Cleaning, Preprocess, TextRule
from lumen_resources.model.onnx_graph import (
    FLOAT,
    FLOAT16,
    INT32,
    INT64,
    UINT8,
    Graph,
    Value,
    read_graph,
)
from lumen_resources.model.text_growth import MOST_GROWTH, growth_of
from lumen_resources.model.word_list import WORD_LIST, word_pieces

MAX_JSON_BYTES = 16 * 1024 * 1024
MAX_TOKENIZER_BYTES = 256 * 1024 * 1024
MAX_SAFETENSORS_HEADER_BYTES = 100 * 1024 * 1024
# No library takes more edges; the product of a million of them would be computed for hours.
MAX_EDGES = 64

# A word that every vocabulary has a token for, if only the unknown one.
_PROBE = "a"
TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")


def read_config(path: Path | None) -> Mapping[str, Any] | None:
    """Return the model's configuration; raises ResourceValidationError when it is not an object."""
    if path is None:
        return None
    with translated(path, "reading"):
        content = read_bounded(path, MAX_JSON_BYTES)
    if len(content) > MAX_JSON_BYTES:
        raise _invalid(path, f"is larger than the {MAX_JSON_BYTES:,} bytes that are read")
    try:
        document = parse_json(content)
    except ValueError as error:
        raise _invalid(path, f"is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise _invalid(path, "is not a JSON object")
    return document


def load_tokenizer(path: Path) -> Tokenizer:
    """Load tokenizer.json, or BERT's list of words; raises TokenizerError."""
    with translated(path, "reading"):
        content = read_bounded(path, MAX_TOKENIZER_BYTES)
    if len(content) > MAX_TOKENIZER_BYTES:
        raise _bad_tokenizer(path, f"it has more than {MAX_TOKENIZER_BYTES:,} bytes")
    try:
        if path.name == WORD_LIST:
            tokenizer = word_pieces(content)
        else:
            tokenizer = Tokenizer.from_buffer(utf8(content))
    except BaseException as error:  # the library raises no narrower class, and panics
        if not is_failure(error):
            raise
        raise _bad_tokenizer(path, str(error)) from error
    if tokenizer.get_vocab_size() < 1:
        raise _bad_tokenizer(path, "its vocabulary is empty")
    _refuse_growth(tokenizer, path)
    # Framing, cutting and filling are the rule's: what the file says about them varies, and may
    # fill each text up with more tokens than there is memory.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _refuse_growth(tokenizer: Tokenizer, path: Path) -> None:
    growth = growth_of(tokenizer)
    if growth > MOST_GROWTH:
        raise _bad_tokenizer(path, f"its steps may make a text {growth:.3g} times longer")


def check_graphs(
    at: Callable[[str], Path], chosen: ChosenFiles, preprocess: Preprocess, dim: int
) -> int | None:
    """Check the ONNX graphs against the model info; return the text length one fixes.

    `at` gives the place of a relative path. A graph may fix its batch, and may take uint8 pixels
    that it normalises itself. Raises ResourceValidationError.
    """
    length = None
    for path, check in ((chosen.vision, _check_pixels), (chosen.text, _check_tokens)):
        if path is not None:
            graph = read_graph(at(path))
            length = check(graph, path, preprocess.size)
            _check_output(graph, path, dim)
            _check_external(graph, path, chosen)
    return length


def _check_pixels(graph: Graph, path: str, side: int) -> None:
    expected = f"float or uint8 [N, 3, {side}, {side}]"
    pixels = _input(graph, path, {FLOAT, FLOAT16, UINT8}, 4, expected)
    wanted = [(3, side, side)]
    if pixels.element_type == UINT8:
        wanted.append((side, side, 3))
    if not any(_fits(pixels.shape[1:], shape) for shape in wanted):
        raise _graph(path, f"takes {pixels}", f"{expected} is expected")


def _check_tokens(graph: Graph, path: str, _: int) -> int | None:
    return _input(graph, path, {INT32, INT64}, 2, "int64 or int32 [N, L]").shape[1]


def _fits(shape: Sequence[int | None], wanted: Sequence[int]) -> bool:
    return all(d in {None, want} for d, want in zip(shape, wanted, strict=True))


def _input(graph: Graph, path: str, types: set[int], rank: int, expected: str) -> Value:
    for value in graph.inputs:
        if value.element_type in types and len(value.shape) == rank:
            return value
    takes = "; ".join(str(v) for v in graph.inputs) or "nothing"
    raise _graph(path, f"takes {takes}", f"{expected} is expected")


def _check_output(graph: Graph, path: str, dim: int) -> None:
    for value in graph.outputs:
        fits = len(value.shape) == 2 and value.shape[1] in {None, dim}
        if fits and value.element_type in {FLOAT, FLOAT16}:
            return
    gives = "; ".join(str(v) for v in graph.outputs) or "nothing"
    raise _graph(path, f"gives {gives}", f"float [N, {dim}] is expected (embedding_dim)")


def _check_external(graph: Graph, path: str, chosen: ChosenFiles) -> None:
    """Weights kept beside a graph must be among the verified files."""
    folder = path.rpartition("/")[0]
    beside = {f"{folder}/{name}" if folder else name for name in graph.external_files}
    for unverified in sorted(beside - set(chosen.external_data)):
        raise _graph(
            path,
            f"keeps weights in {unverified!r}",
            f"only {path}.data and {path}_data are fetched and verified beside it",
        )


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a safetensors file; `start` and `end` count from the end of the header."""

    dtype: str
    elements: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """What a safetensors file holds, by name; `data_start` is where the tensors begin."""

    tensors: Mapping[str, StoredTensor]
    data_start: int


def read_safetensors_header(path: Path) -> SafetensorsHeader:
    """Read the header alone; raises ResourceValidationError when it does not parse."""
    with translated(path, "reading"), open_regular(path) as file:
        size = path.stat().st_size
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, MAX_SAFETENSORS_HEADER_BYTES):
            raise _invalid(path, f"has a header of {length:,} bytes in a file of {size:,}")
        header = file.read(length)
    try:
        document = orjson.loads(header)
        tensors = {k: _tensor(v) for k, v in document.items() if k != "__metadata__"}
    except (ValueError, AttributeError, KeyError, IndexError, TypeError) as error:
        raise _invalid(path, f"has a header that is not a tensor list: {error}") from error
    end = max((tensor.end for tensor in tensors.values()), default=0)
    if end > size - 8 - length:
        raise _invalid(path, f"has {size - 8 - length:,} bytes of tensors, its header says {end:,}")
    return SafetensorsHeader(tensors, 8 + length)


def _tensor(entry: Any) -> StoredTensor:
    start, end = entry["data_offsets"]
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start <= end):
        raise ValueError("a tensor lies nowhere")
    shape = entry["shape"]
    if not (isinstance(shape, list) and all(isinstance(edge, int) for edge in shape)):
        raise ValueError("a tensor has no shape")
    if len(shape) > MAX_EDGES:
        raise ValueError(f"a tensor has {len(shape):,} edges")
    return StoredTensor(str(entry["dtype"]), math.prod(shape), start, end)


def check_safetensors(path: Path) -> None:
    """Check that a safetensors file's header parses and its length agrees with the tensors."""
    header = read_safetensors_header(path)
    there = path.stat().st_size - header.data_start
    end = max((tensor.end for tensor in header.tensors.values()), default=0)
    if end != there:
        raise _invalid(path, f"has {there:,} bytes of tensors, its header says {end:,}")


def check_weights(path: Path) -> None:
    """Check a torch checkpoint by its container; pickles are not opened here."""
    if path.suffix == ".safetensors":
        check_safetensors(path)
        return
    with translated(path, "reading"), open_regular(path) as file:
        start = file.read(2)
    # torch.save writes a zip; the format before it a pickle (protocol 2 and later: byte 0x80).
    if start != b"PK" and start[:1] != b"\x80":
        raise _invalid(path, f"starts with {start!r}, which no torch checkpoint does")


def rows_to_sample(count: int, most: int = 64) -> list[int]:
    """Return evenly spread rows, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})


def _invalid(path: Path, found: str) -> ResourceValidationError:
    return ResourceValidationError(
        f"{path} {found}.",
        remedy="Its digest is right, so it was published so: report it to the model's owner.",
        file=path.name,
    )


def _graph(path: str, found: str, expected: str) -> ResourceValidationError:
    return ResourceValidationError(
        f"{path} {found}; {expected}.",
        remedy="Correct embedding_dim or preprocess in model_info.json, or export the model anew.",
        file=path,
    )


def _bad_tokenizer(path: Path, found: str) -> TokenizerError:
    return TokenizerError(
        f"{path} cannot be loaded: {found}.",
        remedy="Replace it by the tokenizer.json that the model was published with.",
        file=path.name,
    )


def refuse_cased_words(tokenizer: str, name: str, document: Mapping[str, Any]) -> None:
    """Raise TokenizerError for a list of words that is told to keep case: it is read uncased."""
    if tokenizer.endswith(WORD_LIST) and document.get("do_lower_case") is False:
        raise _contradiction(name, "do_lower_case false", f"{WORD_LIST} is read without case here")


def check_sides(name: str, document: Mapping[str, Any], tokenizer: Tokenizer) -> None:
    """Compare what a file says of a text's two sides with what tokenizer.json does.

    transformers rewrites tokenizer.json's start and end by it, Gemma's among them; here
    tokenizer.json alone is followed, so the two must agree. Raises TokenizerError.
    """
    for key in ("padding_side", "truncation_side"):
        if document.get(key) == "left":
            raise _contradiction(name, f"{key} left", "texts begin at the left and are cut behind")
    try:
        ids = tokenizer.encode(_PROBE).ids
    except BaseException as error:  # a pattern that backtracks too long makes it panic
        if not is_failure(error):
            raise
        raise _bad_tokenizer(Path("tokenizer.json"), str(error)) from error
    for side, end in (("bos", ids[:1]), ("eos", ids[-1:])):
        key, text = f"add_{side}_token", token_text(document, f"{side}_token")
        wanted, number = document.get(key), None if text is None else tokenizer.token_to_id(text)
        if not isinstance(wanted, bool) or number is None:
            continue
        added = end == [number]
        if added is not wanted:
            raise _contradiction(
                name,
                f"{key} {str(wanted).lower()}",
                f"tokenizer.json {'adds' if added else 'does not add'} {text!r}",
            )


def check_settings(
    name: str,
    document: Mapping[str, Any],
    rule: TextRule,
    token_id: Callable[[str], int | None],
) -> None:
    """Compare one of the two files with what is done; `token_id` looks a token up.

    Raises TokenizerError.
    """
    if document.get("do_lower_case") is False and rule.cleaning is Cleaning.LOWER:
        raise _contradiction(name, "do_lower_case false", "texts are lowered here")
    longest = document.get("model_max_length")
    if isinstance(longest, int | float) and longest < rule.context_length:
        raise _contradiction(
            name, f"model_max_length {longest:g}", f"texts have {rule.context_length} tokens here"
        )
    padding = token_text(document, "pad_token")
    number = None if padding is None else token_id(padding)
    if number is None or number == rule.pad_id:
        return
    # Behind the end of a text, CLIP's causal towers see nothing: its end may stand there as well.
    ends = {token_text(document, key) for key in ("eos_token", "sep_token")}
    if rule.frame == "own" or padding not in ends:
        raise _contradiction(
            name,
            f"pad_token {padding!r}, which is {number}",
            f"texts are filled up with {rule.pad_id} here",
        )


def _contradiction(name: str, says: str, done: str) -> TokenizerError:
    return TokenizerError(
        f"{name} says {says}; {done}.",
        remedy="Correct the file to what the model was trained with; a model that needs it so "
        "cannot be served yet.",
        file=name,
    )
