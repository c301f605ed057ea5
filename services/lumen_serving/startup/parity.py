"""Whether what computes is what was asked for: its device, its vectors, the golden set.

Run once at warm-up, through the same decoding, tokenising and backend as every request.
The report of a backend is evidence (the providers of the loaded session, the device's own name);
a server that was asked for CUDA and finds itself on a CPU refuses to start.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lumen_manifest.reading.regular_files import read_bounded
from lumen_manifest.spec.enums import Accelerator, Precision
from lumen_resources.arrays import UnreadableArrayError, map_npy
from lumen_resources.model.layouts import Parity, ParityInput, VerifiedModel
from lumen_serving.backends.base import Backend, BackendReport
from lumen_serving.errors import BadImage, DeviceMismatch, ParityFailed, StartError
from lumen_serving.media.images import decode_rgb
from lumen_serving.media.text import Tokenizer
from lumen_terms.modality import Modality

TOLERANCE_FP32 = 0.9999
TOLERANCE_REDUCED = 0.999
# The fake computes on nothing and says so; it is chosen by hand only.
FAKE = "fake"
# What a caller may send as well.
MAX_PICTURE_BYTES = 10 * 1024 * 1024


def check_parity(
    backend: Backend, model: VerifiedModel, tokenizer: Tokenizer | None
) -> float | None:
    """Return the worst cosine over the golden set; None without one, or of the fake's vectors.

    What the model does not embed is left out: pictures or texts, where one tower is loaded.

    Raises:
        ParityFailed: below the tolerance of the declared precision, or the set cannot be read.

    """
    if model.parity is None or backend.report().runtime == FAKE:
        return None
    wanted = _vectors(model.parity.vectors, len(model.parity.inputs), model.embedding_dim)
    worst, worst_input, compared = 1.0, "", 0
    for golden, reference in zip(model.parity.inputs, wanted, strict=True):
        if _modality(golden) not in model.modalities or (golden.text and tokenizer is None):
            continue
        got = _embed(backend, model, tokenizer, golden)
        compared += 1
        cosine = float(got.astype(np.float64) @ reference / np.linalg.norm(reference))
        # `not >=` also takes a cosine that is not a number.
        if not cosine >= worst:
            worst, worst_input = cosine, _name(golden)
    least = tolerance(model.precision)
    if not worst >= least:
        raise ParityFailed(
            f"The vector of {worst_input} has cosine {worst:.6f} to the reference"
            f"{model.parity.by and f' ({model.parity.by})'}; "
            f"at least {least} is expected of {model.precision.value}.",
            remedy=_remedy(model.parity),
            file=str(model.parity.vectors),
        )
    return worst if compared else None


def _remedy(parity: Parity) -> str:
    if not parity.by:
        return "Export the model anew, or correct the preprocessing in model_info.json."
    return (
        "Use another precision or runtime, or files that were exported from the same weights. If "
        f"it is the reference that is wrong, remove {parity.vectors.parent} and record another."
    )


def _modality(golden: ParityInput) -> Modality:
    return Modality.IMAGE if golden.image is not None else Modality.TEXT


def tolerance(precision: Precision) -> float:
    """Return the least cosine to the reference that a precision is allowed."""
    return TOLERANCE_FP32 if precision is Precision.FP32 else TOLERANCE_REDUCED


def _embed(
    backend: Backend, model: VerifiedModel, tokenizer: Tokenizer | None, golden: ParityInput
) -> NDArray[np.float32]:
    if golden.image is not None:
        return backend.embed_images(_picture(golden.image, model)[None]).reshape(-1)
    if tokenizer is None or golden.text is None:
        raise ValueError("a golden input is a picture or a text")
    tokens, _ = tokenizer.encode([golden.text])
    return backend.embed_texts(tokens).reshape(-1)


def _picture(path: Path, model: VerifiedModel) -> NDArray[np.uint8]:
    try:
        return decode_rgb(read_bounded(path, MAX_PICTURE_BYTES), "", model.preprocess)
    except (OSError, BadImage) as error:
        raise _unreadable(path, str(error)) from error


def _vectors(path: Path, count: int, dim: int) -> NDArray[np.float64]:
    try:
        stored = map_npy(path)
    except (OSError, UnreadableArrayError) as error:
        raise _unreadable(path, str(error)) from error
    if stored.shape != (count, dim) or not np.issubdtype(stored.dtype, np.floating):
        raise _unreadable(path, f"it is {stored.dtype} {list(stored.shape)}, not [{count}, {dim}]")
    vectors: NDArray[np.float64] = stored.astype(np.float64)
    return vectors


def _unreadable(path: Path, why: str) -> ParityFailed:
    return ParityFailed(
        f"The parity set cannot be used: {path.name}: {why}.",
        remedy="Export the model anew, or take the parity set out of model_info.json.",
        file=str(path),
    )


def _name(golden: ParityInput) -> str:
    return golden.image.name if golden.image is not None else f"the text {golden.text!r}"


def check_report(report: BackendReport, asked: Accelerator, dim: int) -> None:
    """Compare what computes with what was asked for.

    Raises:
        DeviceMismatch: it computes on another device.
        StartError: the model's vectors are not as long as its info says.

    """
    if report.device not in {asked.value, FAKE}:
        providers = ", ".join(report.providers) or "none"
        raise DeviceMismatch(
            f"The pool promises '{asked.value}', but {report.runtime} {report.version} computes on "
            f"'{report.device}' (providers: {providers}).",
            remedy="Check the device plugin, the driver and the image of this pool, "
            "or choose a pool whose accelerator is "
            f"'{report.device}'.",
        )
    if report.dim != dim:
        raise StartError(
            f"The model info promises vectors of {dim} numbers, the model gives {report.dim}.",
            remedy="Correct embedding_dim in model_info.json, or use the files it was written for.",
        )
