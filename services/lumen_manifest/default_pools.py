"""The four pools that a cluster starts with, one for each accelerator."""

from lumen_manifest.names import GROUP
from lumen_manifest.node_pool import DeviceSpec, LumenNodePool, NodePoolSpec
from lumen_manifest.spec.enums import Accelerator
from lumen_manifest.spec.object_meta import ClusterObjectMeta

DEVICE_RESOURCES = {
    Accelerator.CUDA: "nvidia.com/gpu",
    Accelerator.ROCM: "amd.com/gpu",
    Accelerator.RK3588: "rockchip.com/npu",
}
ACCELERATOR_LABEL = f"{GROUP}/accelerator"


def default_pool(accelerator: Accelerator) -> LumenNodePool:
    """Describe the pool of that name: any node for cpu, else the nodes with its label."""
    resource = DEVICE_RESOURCES.get(accelerator)
    return LumenNodePool(
        metadata=ClusterObjectMeta(name=accelerator.value),
        spec=NodePoolSpec(
            accelerator=accelerator,
            node_selector={ACCELERATOR_LABEL: accelerator.value} if resource else {},
            device=DeviceSpec(resource=resource) if resource else None,
        ),
    )


def default_pools() -> tuple[LumenNodePool, ...]:
    """Describe all four."""
    return tuple(default_pool(accelerator) for accelerator in Accelerator)
