"""What any model must be able to do, tried on each one before it serves, golden set or not.

A graph that was exported wrongly, or a device that computes wrongly, gives an answer to everything:
the same one, or none at all. Here it is asked a few things whose answers must differ. Run once
when a model is loaded, by the server and by `prepare`, for every runtime.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumen_manifest.spec.enums import OnnxEngine, Precision
from lumen_resources.model.layouts import VerifiedModel
from lumen_serving.backends.base import Backend, noise
from lumen_serving.errors import ParityFailed
from lumen_serving.graphs.ports import RunFailed
from lumen_serving.media.text import Tokenizer
from lumen_terms.modality import Modality

# Vectors of things as unlike as these are never as close, not even those of random weights.
_SAME = 1 - 1e-7
_UNIT_WITHIN = 1e-3
# What adding up in another order may cost, on devices whose batches are not alike to the byte.
_ALIKE = {Precision.FP32: 0.9999}
_ALIKE_REDUCED = 0.999
# A token that no vocabulary has, and that an int32 holds.
_IN_NO_TABLE = 2**31 - 2
_COLOURS: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("red", (255, 0, 0)),
    ("green", (0, 160, 0)),
    ("blue", (0, 0, 255)),
    ("black", (0, 0, 0)),
)

Embed = Callable[[NDArray[Any]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class _Trial:
    """One modality's things to try, all distinct, and what they are called in a sentence."""

    things: str
    items: NDArray[Any]
    embed: Embed


def probe(backend: Backend, model: VerifiedModel) -> None:
    """Refuse a model whose vectors cannot mean anything.

    Each modality is asked for distinct items, alone, again, and together where the backend has not
    tried that itself: vectors are finite, of length one, not constant, different for different
    items, and the same for the same one.

    Raises:
        ParityFailed: says which of these does not hold.

    """
    alike = _ALIKE.get(model.precision, _ALIKE_REDUCED)
    for trial in _trials(backend, model):
        alone = np.concatenate([trial.embed(item[None]) for item in trial.items])
        _refuse_meaningless(trial, alone)
        _refuse_indifferent(trial, alone)
        _refuse_unstable(trial, alone)
        if not backend.report().batches_proven:
            _refuse_mixing(trial, alone, alike)


def colours_found(backend: Backend, model: VerifiedModel, tokenizer: Tokenizer) -> tuple[int, int]:
    """Return for how many plain pictures the name of their colour is the closest, and of how many.

    Any trained CLIP finds nearly all; it is told and not judged, since a model for other things
    than colours need not.
    """
    tokens, _ = tokenizer.encode([f"a picture of the color {name}" for name, _ in _COLOURS])
    side = model.preprocess.size
    plain = np.stack([np.full((side, side, 3), rgb, np.uint8) for _, rgb in _COLOURS])
    closest = (backend.embed_images(plain) @ backend.embed_texts(tokens).T).argmax(axis=1)
    return int((closest == np.arange(len(_COLOURS))).sum()), len(_COLOURS)


def probe_texts(backend: Backend, tokenizer: Tokenizer) -> None:
    """Refuse a tokenizer whose ordinary tokens the text tower has no vector for.

    Most libraries fail on such a token; OpenVINO takes zeros for it, which no length or
    cosine tells from a vector.

    Raises:
        ParityFailed: says so.

    """
    rows, own = tokenizer.ordinary_rows()
    row, at = np.unravel_index(np.where(own, rows, -1).argmax(), rows.shape)
    largest = int(rows[row, at])
    try:
        vectors = backend.embed_texts(rows)
        if backend.report().runtime != OnnxEngine.OPENVINO.value or not own.any():
            return
        beyond = rows[row : row + 1].copy()
        beyond[0, at] = _IN_NO_TABLE
        if backend.embed_texts(beyond).tobytes() != vectors[row : row + 1].tobytes():
            return
        cause: Exception | None = None
    except (RunFailed, ValueError) as error:
        cause = error
    raise ParityFailed(
        f"The text tower does not take ordinary texts as the tokenizer writes them; the largest "
        f"token in a few of them is {largest:,}.",
        remedy="Use the tokenizer.json that the model was published with.",
    ) from cause


def _trials(backend: Backend, model: VerifiedModel) -> list[_Trial]:
    trials = []
    if Modality.IMAGE in model.modalities:
        pictures = _pictures(model.preprocess.size)
        trials.append(_Trial("pictures", pictures, backend.embed_images))
    if Modality.TEXT in model.modalities:
        texts = noise(model, 3)[Modality.TEXT]
        trials.append(_Trial("texts", texts, backend.embed_texts))
    return trials


def _pictures(side: int) -> NDArray[np.uint8]:
    """Return a red square, a bright half beside a dark one, and a fine pattern [3, S, S, 3]."""
    pictures = np.zeros((3, side, side, 3), np.uint8)
    pictures[0, :, :, 0] = 255
    pictures[1, :, : side // 2] = 255
    pictures[2, ::2, ::2] = 255
    return pictures


def _refuse_meaningless(trial: _Trial, vectors: NDArray[np.float32]) -> None:
    if not np.isfinite(vectors).all():
        raise _refused(f"The vectors of {trial.things} are not finite numbers.")
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    if (abs(lengths - 1) > _UNIT_WITHIN).any():
        raise _refused(f"The vectors of {trial.things} have the length {lengths.max():.3f}, not 1.")
    if vectors.shape[1] > 1 and (np.ptp(vectors, axis=1) == 0).any():
        raise _refused(f"All numbers in a vector of {trial.things} are the same.")


def _refuse_indifferent(trial: _Trial, vectors: NDArray[np.float32]) -> None:
    cosines = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    if cosines[np.triu_indices(len(vectors), 1)].max() >= _SAME:
        raise _refused(f"Different {trial.things} have the same vector: the model ignores them.")


def _refuse_unstable(trial: _Trial, alone: NDArray[np.float32]) -> None:
    if trial.embed(trial.items[:1]).tobytes() != alone[:1].tobytes():
        raise _refused(f"One of the {trial.things} gets another vector each time.")


def _refuse_mixing(trial: _Trial, alone: NDArray[np.float32], alike: float) -> None:
    together = trial.embed(trial.items)
    if together.tobytes() == alone.tobytes():
        return
    cosines = together.astype(np.float64) @ alone.astype(np.float64).T
    swapped = (cosines.argmax(axis=1) != np.arange(len(alone))).any()
    if not (cosines.diagonal() >= alike).all() or swapped:
        raise _refused(f"{trial.things.capitalize()} get other vectors in a batch than alone.")


def _refused(found: str) -> ParityFailed:
    return ParityFailed(
        found,
        remedy="Export the model anew, or choose another precision, engine or runtime.",
    )
