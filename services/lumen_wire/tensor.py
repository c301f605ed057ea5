"""The tensor fast path: a payload that is already preprocessed, and what its meta must say."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import orjson

from lumen_wire.errors import InvalidArgument

MIME = "application/octet-stream"
KIND_KEY = "lumen.input.kind"
DTYPE_KEY = "lumen.tensor.dtype"
SHAPE_KEY = "lumen.tensor.shape"
LAYOUT_KEY = "lumen.tensor.layout"
PREPROCESS_KEY = "lumen.preprocess.id"
SKIP_KEY = "lumen.preprocess.skip"

_MOST_AXES = 8
_LONGEST_SHAPE = 256
_LARGEST_AXIS = 1 << 31


class TensorDtype(StrEnum):
    """Element types of a tensor payload, little endian."""

    FP32 = "fp32"
    FP16 = "fp16"
    UINT8 = "uint8"


_ITEM_BYTES: Mapping[TensorDtype, int] = {
    TensorDtype.FP32: 4,
    TensorDtype.FP16: 2,
    TensorDtype.UINT8: 1,
}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What the payload is: element type, shape in NCHW, and who preprocessed it."""

    dtype: TensorDtype
    shape: tuple[int, ...]
    preprocess_id: str

    @property
    def byte_count(self) -> int:
        """Return the bytes that a payload of this shape has."""
        return math.prod(self.shape) * _ITEM_BYTES[self.dtype]


def is_tensor(meta: Mapping[str, str]) -> bool:
    """Say whether a request's meta declares a tensor."""
    return meta.get(KIND_KEY) == "tensor"


def parse_tensor(meta: Mapping[str, str]) -> TensorSpec | None:
    """Return the declared tensor, or None when the payload is none.

    Raises InvalidArgument when the declaration is incomplete or says what no server takes.
    """
    if not is_tensor(meta):
        return None
    try:
        dtype = TensorDtype(meta.get(DTYPE_KEY, ""))
    except ValueError:
        raise InvalidArgument(
            f'meta "{DTYPE_KEY}" must be one of: {", ".join(TensorDtype)}.'
        ) from None
    if meta.get(LAYOUT_KEY, "NCHW") != "NCHW":
        raise InvalidArgument(f'meta "{LAYOUT_KEY}" must be NCHW.')
    if meta.get(SKIP_KEY, "") != "true":
        raise InvalidArgument(
            f'meta "{SKIP_KEY}" must be "true": a tensor is sent preprocessed or not at all.'
        )
    return TensorSpec(dtype, _shape(meta.get(SHAPE_KEY, "")), meta.get(PREPROCESS_KEY, ""))


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = orjson.loads(text) if len(text) <= _LONGEST_SHAPE else None
    except orjson.JSONDecodeError:
        shape = None
    axes = shape if isinstance(shape, list) and 0 < len(shape) <= _MOST_AXES else []
    # bool is an int in Python, and `true` is no axis.
    if axes and all(type(axis) is int and 0 < axis < _LARGEST_AXIS for axis in axes):
        return tuple(axes)
    raise InvalidArgument(
        f'meta "{SHAPE_KEY}" must be a JSON list of whole numbers, such as [1,3,224,224].'
    )
