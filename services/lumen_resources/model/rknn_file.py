"""Reads what an RKNN file says of itself, without Rockchip's library, and compares it.

The format is not documented; this is how rknn-toolkit2 2.3.0, 2.3.2 and 2.5.0 write it: the magic
`RKNN`, four zero bytes, two little-endian 64-bit numbers (format, length of the graph), 64 bytes of
header in all (24 in format 1), the graph, the length of a JSON document, that document. It names
the chips, the toolkit and the tensors. Early in the graph stands a second description, written as
Python writes a dict, which tells how each input was meant: its type, and mean and std where the
NPU normalises. Weights are never read.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lumen_manifest.reading.regular_files import open_regular
from lumen_resources.errors import (
    ResourceValidationError,
    RuntimeNotSupportedError,
    translated,
)
from lumen_resources.json_text import parse_json
from lumen_resources.model.layouts import ChosenFiles, Preprocess

MAGIC = b"RKNN"
MAX_JSON_BYTES = 4 * 1024 * 1024
# The second description stands before the tensors; 580 bytes in is the farthest seen.
MAX_ATTRIBUTES_BYTES = 256 * 1024
_HEADER_BYTES, _FIRST_HEADER_BYTES = 64, 24
_ATTRIBUTES = b"{'attrs': "
_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}
# The toolkit keeps mean and std as it was given them, in levels of 0..255.
_LEVELS, _LEVELS_APART = 255.0, 0.05


@dataclass(frozen=True, slots=True)
class RknnPort:
    """An input or output as the graph had it that was converted.

    `dtype` is empty when the file does not say. `mean` and `std`, per channel and in levels of
    0..255, are what the NPU normalises with; empty when it does not.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def takes_levels(self) -> bool:
        """Whether it wants a picture's bytes, and normalises them itself."""
        return bool(self.mean) or self.dtype == "uint8"

    @property
    def channels_last(self) -> bool:
        """Whether it is [1, S, S, 3], not [1, 3, S, S]."""
        return len(self.shape) == 4 and self.shape[1] != 3 and self.shape[3] == 3

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype or 'tensor'} {list(self.shape)}"


@dataclass(frozen=True, slots=True)
class RknnFile:
    """What a file was made for: chips such as `rk3588`, and the toolkit's version."""

    targets: tuple[str, ...]
    version: str
    inputs: tuple[RknnPort, ...]
    outputs: tuple[RknnPort, ...]


def read_rknn(path: Path) -> RknnFile:
    """Read a file's two descriptions; raises ResourceValidationError when it is no such file."""
    with translated(path, "reading"), open_regular(path) as file:
        size = path.stat().st_size
        header = _read(file, _HEADER_BYTES)
        if header[:4] != MAGIC or len(header) < _HEADER_BYTES:
            raise _damaged(path, f"starts with {header[:4]!r}, not with {MAGIC!r}")
        form, length = (int.from_bytes(header[at : at + 8], "little") for at in (8, 16))
        start = _HEADER_BYTES if form > 1 else _FIRST_HEADER_BYTES
        end = start + length
        if end + 8 > size:
            raise _damaged(path, f"has {size:,} bytes, its header says more than {end:,}")
        file.seek(end)
        described = int.from_bytes(_read(file, 8), "little")
        if not 2 <= described <= min(size - end - 8, MAX_JSON_BYTES):
            raise _damaged(path, f"has a description of {described:,} bytes")
        text = _read(file, described)
        file.seek(start)
        head = _read(file, min(length, MAX_ATTRIBUTES_BYTES))
    try:
        return _parsed(parse_json(text), _attributes(head))
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise _damaged(path, f"has a description that cannot be read: {error}") from error


def _read(file: BinaryIO, count: int) -> bytes:
    """Read exactly so many bytes, fewer only at the end: the file is unbuffered."""
    parts = []
    while count > 0 and (part := file.read(count)):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _parsed(document: Mapping[str, Any], attributes: Mapping[str, Any]) -> RknnFile:
    tensors = {each["tensor_id"]: each for each in document["norm_tensor"]}
    ends: dict[str, list[Mapping[str, Any]]] = {"input": [], "output": []}
    for edge in sorted(document["graph"], key=lambda each: int(each["left_tensor_id"])):
        ends[edge["left"]].append(tensors[edge["right_tensor_id"]])
    return RknnFile(
        targets=tuple(str(each).lower() for each in _list(document["target_platform"])),
        version=str(document["version"]),
        inputs=tuple(_port(each, attributes) for each in ends["input"]),
        outputs=tuple(_port(each, attributes) for each in ends["output"]),
    )


def _port(tensor: Mapping[str, Any], attributes: Mapping[str, Any]) -> RknnPort:
    name = str(tensor["url"])
    said = attributes.get(name)
    said = said if isinstance(said, Mapping) else {}
    mean, std = (tuple(float(x) for x in _list(said.get(key) or [])) for key in ("mean", "std"))
    plain = not any(mean) and all(x == 1 for x in std)
    return RknnPort(
        name=name,
        shape=tuple(int(length) for length in _list(tensor["size"])),
        dtype=str(said.get("dtype", "")),
        mean=() if plain else mean,
        std=() if plain else std,
    )


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def _attributes(head: bytes) -> Mapping[str, Any]:
    """Return the second description's `attrs` by tensor; {} when it is not there."""
    begins = head.find(_ATTRIBUTES)
    ends = head.find(b"\0", begins)
    if begins < 0 or ends < 0:
        return {}
    # Python's own words for the same values; a name with a quote in it is not understood.
    text = head[begins:ends].decode("utf-8", "replace").replace("'", '"')
    text = re.sub(r"\b(True|False|None)\b", lambda word: _PYTHON_WORDS[word[0]], text)
    try:
        attributes = parse_json(text.encode()).get("attrs")
    except (ValueError, AttributeError):
        return {}
    return attributes if isinstance(attributes, Mapping) else {}


def check_rknn(
    at: Callable[[str], Path], chosen: ChosenFiles, preprocess: Preprocess, dim: int, target: str
) -> int | None:
    """Check the towers of a model against what it must be; return the text length one fixes.

    Raises RuntimeNotSupportedError when they are for another chip, else ResourceValidationError.
    """
    if chosen.vision is not None:
        vision = _checked(at(chosen.vision), chosen.vision, target, dim)
        _check_pixels(vision.inputs[0], chosen.vision, preprocess)
    if chosen.text is None:
        return None
    text = _checked(at(chosen.text), chosen.text, target, dim)
    shapes = {each.shape for each in text.inputs}
    if len(shapes) > 1 or any(len(shape) != 2 for shape in shapes):
        raise _other(chosen.text, _takes(text), "[1, L] is expected")
    return text.inputs[0].shape[1]


def _checked(place: Path, path: str, target: str, dim: int) -> RknnFile:
    file = read_rknn(place)
    if target not in file.targets:
        raise RuntimeNotSupportedError(
            f"{path} was made for {', '.join(file.targets) or 'no chip'}, this device is {target}.",
            remedy=f"Convert the model for {target}: `lumen export FOLDER --to rknn --out MADE`, "
            "or use the files of that folder.",
            file=path,
        )
    batches = {each.shape[:1] for each in file.inputs}
    if batches != {(1,)}:
        raise _other(path, _takes(file), "one item at a time is expected")
    if all(each.shape != (1, dim) for each in file.outputs):
        gives = "; ".join(map(str, file.outputs)) or "nothing"
        raise _other(path, f"gives {gives}", f"[1, {dim}] is expected (embedding_dim)")
    return file


def _check_pixels(pixels: RknnPort, path: str, preprocess: Preprocess) -> None:
    side = preprocess.size
    if pixels.shape not in {(1, 3, side, side), (1, side, side, 3)}:
        raise _other(path, f"takes {pixels}", f"[1, 3, {side}, {side}] is expected")
    wanted = [_LEVELS * each for each in (*preprocess.mean, *preprocess.std)]
    inside = [*pixels.mean, *pixels.std]
    if inside and (
        len(inside) != len(wanted)
        or any(not abs(a - b) <= _LEVELS_APART for a, b in zip(inside, wanted, strict=True))
    ):
        raise _other(
            path,
            f"normalises with mean {_rounded(pixels.mean)} and std {_rounded(pixels.std)}",
            f"the model's are {_rounded(wanted[:3])} and {_rounded(wanted[3:])}",
        )


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 2) for value in values]


def _takes(file: RknnFile) -> str:
    return f"takes {'; '.join(map(str, file.inputs)) or 'nothing'}"


def _damaged(path: Path, found: str) -> ResourceValidationError:
    return ResourceValidationError(
        f"{path} {found}.",
        remedy="Convert the model anew: it is not a file that rknn-toolkit2 writes.",
        file=path.name,
    )


def _other(path: str, found: str, expected: str) -> ResourceValidationError:
    return ResourceValidationError(
        f"{path} {found}; {expected}.",
        remedy="Convert the model anew, or correct embedding_dim or preprocess in model_info.json.",
        file=path,
    )
