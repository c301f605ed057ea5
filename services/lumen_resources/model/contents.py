"""Checks what is inside verified files: a right digest of a wrong file helps nobody.

No runtime is loaded: configurations are parsed, the tokenizer is loaded, graphs and matrices are
judged by their headers. What stands beside tokenizer.json and decides a vector must agree with what
is done here: texts are lowered, cut at the context length, framed, and filled up with 0
(`lumen_serving.media.text`).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
from tokenizers import Tokenizer

from lumen_manifest.reading.regular_files import open_regular, read_bounded
from lumen_resources.errors import ResourceValidationError, TokenizerError, is_failure, translated
from lumen_resources.json_text import parse_json, utf8
from lumen_resources.model.layouts import ChosenFiles, Preprocess
from lumen_resources.model.onnx_graph import FLOAT, FLOAT16, INT32, INT64, Graph, Value, read_graph

MAX_JSON_BYTES = 16 * 1024 * 1024
MAX_TOKENIZER_BYTES = 256 * 1024 * 1024
MAX_SAFETENSORS_HEADER_BYTES = 100 * 1024 * 1024

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
    """Load tokenizer.json; raises TokenizerError."""
    with translated(path, "reading"):
        content = read_bounded(path, MAX_TOKENIZER_BYTES)
    if len(content) > MAX_TOKENIZER_BYTES:
        raise _bad_tokenizer(path, f"it has more than {MAX_TOKENIZER_BYTES:,} bytes")
    try:
        tokenizer = Tokenizer.from_buffer(utf8(content))
    except BaseException as error:  # the library raises no narrower class, and panics
        if not is_failure(error):
            raise
        raise _bad_tokenizer(path, str(error)) from error
    if tokenizer.get_vocab_size() < 1:
        raise _bad_tokenizer(path, "its vocabulary is empty")
    return tokenizer


def check_graphs(
    at: Callable[[str], Path], chosen: ChosenFiles, preprocess: Preprocess, dim: int
) -> int | None:
    """Check the two ONNX graphs against the model info; return the text length one fixes.

    `at` gives the place of a relative path. Raises ResourceValidationError.
    """
    if chosen.vision is None or chosen.text is None:
        return None
    vision, text = read_graph(at(chosen.vision)), read_graph(at(chosen.text))
    pixels = _input(vision, chosen.vision, {FLOAT, FLOAT16}, 4, "float [N, 3, S, S]")
    side = preprocess.size
    if any(
        d not in {None, want} for d, want in zip(pixels.shape[1:], (3, side, side), strict=True)
    ):
        raise _graph(chosen.vision, f"takes {pixels}", f"float [N, 3, {side}, {side}] is expected")
    tokens = _input(text, chosen.text, {INT32, INT64}, 2, "int64 or int32 [N, L]")
    for graph, path in ((vision, chosen.vision), (text, chosen.text)):
        _check_output(graph, path, dim)
        _check_external(graph, path, chosen)
    return tokens.shape[1]


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


def check_safetensors(path: Path) -> None:
    """Check that a safetensors file's header parses and its length agrees with the tensors."""
    with translated(path, "reading"), open_regular(path) as file:
        size = path.stat().st_size
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, MAX_SAFETENSORS_HEADER_BYTES):
            raise _invalid(path, f"has a header of {length:,} bytes in a file of {size:,}")
        header = file.read(length)
    try:
        document = orjson.loads(header)
        ends = [v["data_offsets"][1] for k, v in document.items() if k != "__metadata__"]
        end = max(ends, default=0)
    except (orjson.JSONDecodeError, AttributeError, KeyError, IndexError, TypeError) as error:
        raise _invalid(path, f"has a header that is not a tensor list: {error}") from error
    if end != size - 8 - length:
        raise _invalid(path, f"has {size - 8 - length:,} bytes of tensors, its header says {end:,}")


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


def check_settings(
    name: str,
    document: Mapping[str, Any],
    context_length: int,
    token_id: Callable[[str], int | None],
) -> None:
    """Compare one of the two files with what is done; `token_id` looks a token up.

    Raises TokenizerError.
    """
    if document.get("do_lower_case") is False:
        raise _contradiction(name, "do_lower_case false", "texts are lowered here")
    longest = document.get("model_max_length")
    if isinstance(longest, int | float) and longest < context_length:
        raise _contradiction(
            name, f"model_max_length {longest:g}", f"texts have {context_length} tokens here"
        )
    padding, ends = (
        _token(document, "pad_token"),
        {_token(document, key) for key in ("eos_token", "sep_token")},
    )
    number = None if padding is None else token_id(padding)
    # Behind the end of a text, CLIP's causal towers see nothing: its end may stand there as well.
    if number and padding not in ends:
        raise _contradiction(
            name, f"pad_token {padding!r}, which is {number}", "texts are filled up with 0 here"
        )


def _token(document: Mapping[str, Any], key: str) -> str | None:
    """Return a token, which is written as its text or as an object that holds it."""
    value = document.get(key)
    text = value.get("content") if isinstance(value, Mapping) else value
    return text if isinstance(text, str) else None


def _contradiction(name: str, says: str, done: str) -> TokenizerError:
    return TokenizerError(
        f"{name} says {says}; {done}.",
        remedy="Correct the file to what the model was trained with; a model that needs it so "
        "cannot be served yet.",
        file=name,
    )
