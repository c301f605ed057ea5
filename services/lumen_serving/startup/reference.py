"""Records a golden set for a model that brings none: what later starts are compared with.

Called once the model has passed the probe. The set lies beside the lock, never in the source, and
is of the very files and rules that computed it.
"""

from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from lumen_manifest.spec.enums import Precision, Runtime
from lumen_resources.fetch.golden_set import VECTORS, keep_golden_set, reference_of
from lumen_resources.model.layouts import VerifiedModel
from lumen_resources.model.model_info import ParityInfo
from lumen_serving.backends.base import Backend
from lumen_serving.startup.golden import golden_set
from lumen_terms.modality import Modality

log = structlog.get_logger(__name__)


def record_reference(model: VerifiedModel, backend: Backend) -> None:
    """Keep torch's vectors in fp32 beside the lock, for a model that has no golden set.

    They are the checkpoint's own. Where the cache may not be written, the log says so.
    """
    report = backend.report()
    computed_in = model.precision.value, report.precision
    if report.runtime != Runtime.TORCH or computed_in != (Precision.FP32, Precision.FP32):
        return
    parity, files = recorded(model, backend)
    try:
        folder = keep_golden_set(model, parity, files)
    except OSError as error:
        log.info(
            "no golden set recorded: the cache cannot be written",
            why=error.strerror,
            remedy="Record one with the model: lumen resources verify --write FOLDER",
        )
    else:
        log.info("golden set recorded", folder=str(folder))


def recorded(model: VerifiedModel, backend: Backend) -> tuple[ParityInfo, dict[str, bytes]]:
    """Return the golden set with this backend's vectors, and its files by path."""
    golden = golden_set(model.modalities)
    report = backend.report()
    vectors = {m: _embedded(backend, m, rows) for m, rows in golden.items(model).items()}
    by = f"{report.runtime} {report.version}, {report.precision} on {report.device}"
    reference = reference_of(model, by)
    parity = ParityInfo.model_validate(
        {"inputs": golden.inputs(), "vectors": VECTORS, "reference": reference.model_dump()}
    )
    return parity, golden.files(vectors)


def _embedded(backend: Backend, modality: Modality, items: NDArray[Any]) -> NDArray[np.float32]:
    """Return [N, dim], each item by itself: so a server's start compares them."""
    embed = backend.embed_images if modality is Modality.IMAGE else backend.embed_texts
    return np.concatenate([embed(item[None]) for item in items])
