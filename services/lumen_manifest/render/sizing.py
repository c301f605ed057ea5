"""What the server's container sets aside where its service does not say it (docs/sizing.md). Pure.

Enough for the scheduler to spread pods by what they hold, from the model's name alone: nothing
else is known before the first pod has fetched the files, and what is learned later must not
replace pods.
"""

from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from types import MappingProxyType

from lumen_manifest.spec.enums import Precision, Runtime, Tower
from lumen_manifest.spec.model_spec import ModelSpec
from lumen_manifest.spec.pod_fields import ResourceRequirements
from lumen_terms.model_sizes import find_size

CPU = "250m"
"""A share of a core: it keeps a server from starving, and does not say how fast it is."""

OWN_MIB: Mapping[Runtime, int] = MappingProxyType(
    {Runtime.ONNX: 192, Runtime.RKNN: 192, Runtime.TORCH: 960}
)
"""What a server holds besides its weights, in MiB."""

_STEP_MIB = 64
_FULL = Decimal(4)
_BYTES = {
    (Runtime.ONNX, Precision.INT8): Decimal("1.5"),
    (Runtime.RKNN, Precision.FP32): Decimal(2),
    (Runtime.RKNN, Precision.FP16): Decimal(2),
    (Runtime.RKNN, Precision.BF16): Decimal(2),
    (Runtime.RKNN, Precision.INT8): Decimal(1),
}
"""Bytes of memory a weight takes, where they are not four: CPUs hold fp16 files in fp32.

Of 8-bit graphs some weights stay in fp32, and products are packed beside their weights.
"""


def default_requests(model: ModelSpec, asked: ResourceRequirements) -> dict[str, str]:
    """Return the requests that `asked` leaves open, as Kubernetes writes them.

    A limit is a request too, where no other is made.
    """
    found = {"cpu": CPU, "memory": _quantity(memory_mib(model))}
    stated = {*asked.requests, *asked.limits}
    return {each: amount for each, amount in found.items() if each not in stated}


def memory_mib(model: ModelSpec) -> int:
    """Return what a server of this model holds, in MiB; of a model nobody knows, its own alone."""
    size = find_size(model.name)
    weights = 0
    if size is not None:
        towers = {Tower.VISION: size.vision, Tower.TEXT: size.text}
        weights = sum(towers[tower] for tower in model.towers or Tower)
    held = weights * _BYTES.get((model.runtime, model.precision), _FULL) / 2**20
    steps = (held + OWN_MIB[model.runtime]) / _STEP_MIB
    return int(steps.to_integral_value(ROUND_CEILING)) * _STEP_MIB


def _quantity(mib: int) -> str:
    """Write it in the form that the API server keeps."""
    gib, rest = divmod(mib, 1024)
    return f"{mib}Mi" if rest else f"{gib}Gi"
