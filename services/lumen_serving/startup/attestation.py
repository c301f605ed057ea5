"""Whether what computes is what was asked for.

The report of a backend is evidence (the providers of the loaded session, the device's own name);
a server that was asked for CUDA and finds itself on a CPU refuses to start.
"""

from lumen_manifest.model_service import Accelerator
from lumen_serving.backends.base import BackendReport
from lumen_serving.errors import DeviceMismatch, StartError

# The fake computes on nothing and says so; it is chosen by hand only.
_ANY_DEVICE = "fake"


def device_mismatch(asked: Accelerator, report: BackendReport) -> StartError | None:
    """Return the finding, or None when the device is the one that was asked for."""
    if report.device in {asked.value, _ANY_DEVICE}:
        return None
    providers = ", ".join(report.providers) or "none"
    return DeviceMismatch(
        f"The pool promises '{asked.value}', but {report.runtime} {report.version} computes on "
        f"'{report.device}' (providers: {providers}).",
        remedy="Check the device plugin, the driver and the image of this pool, "
        "or choose a pool whose accelerator is "
        f"'{report.device}'.",
    )


def dimension_mismatch(expected: int, report: BackendReport) -> StartError | None:
    """Return the finding, or None when the model's vectors are as long as its info says."""
    if report.dim == expected:
        return None
    return StartError(
        f"The model info promises vectors of {expected} numbers, the model gives {report.dim}.",
        remedy="Correct embedding_dim in model_info.json, or use the files it was written for.",
    )
