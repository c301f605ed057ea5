"""LumenNodePool: the nodes that carry one kind of accelerator, and how pods run on them.

Four of them are there from the start, one for each accelerator.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import Field

from lumen_manifest.model_service import API_VERSION, ClusterObjectMeta
from lumen_manifest.names import GROUP
from lumen_manifest.spec.enums import Accelerator, ProcMount, Runtime
from lumen_manifest.spec.field_types import (
    DNS_SUBDOMAIN,
    IMAGE,
    LABEL_KEY,
    SPEC_FITS,
    Labels,
    Rule,
    Strict,
    Word,
)
from lumen_manifest.spec.pod_fields import EnvList, Tolerations
from lumen_manifest.spec.service_settings import CacheSpec
from lumen_manifest.spec.service_status import Conditions, ObservedModel

DEFAULT_RUNTIMES: Mapping[Accelerator, tuple[Runtime, ...]] = MappingProxyType(
    {
        Accelerator.CPU: (Runtime.ONNX, Runtime.TORCH),
        Accelerator.CUDA: (Runtime.TORCH, Runtime.ONNX),
        Accelerator.ROCM: (Runtime.TORCH, Runtime.ONNX),
        Accelerator.RK3588: (Runtime.RKNN, Runtime.ONNX),
    }
)
"""The runtimes for which images exist, when a pool names none."""


class DeviceSpec(Strict):
    """The extended resource by which a device plugin hands out the accelerator."""

    resource: Annotated[str, Field(pattern=LABEL_KEY.regex, max_length=253)] = Field(
        description="Its name: nvidia.com/gpu, nvidia.com/gpu.shared, amd.com/gpu, "
        "rockchip.com/npu, ..."
    )
    count: int = Field(default=1, ge=1, le=64, description="How many each pod takes.")


class PodSecuritySpec(Strict):
    """What the accelerator's driver needs of a pod; no pod is ever privileged."""

    RULES = (
        Rule(
            cel="self.procMount != 'Unmasked' || !self.hostUsers",
            message="procMount Unmasked needs hostUsers: false",
            at="procMount",
            holds=lambda pod: pod.proc_mount is not ProcMount.UNMASKED or not pod.host_users,
        ),
    )

    supplemental_groups: Annotated[
        tuple[Annotated[int, Field(ge=0, le=4_294_967_295)], ...], Field(max_length=16)
    ] = Field(
        default=(), description="Group ids that own the device nodes, such as video and render."
    )
    proc_mount: ProcMount = Field(
        default=ProcMount.DEFAULT, description="Unmasked shows /proc/device-tree (RK3588)."
    )
    host_users: bool = Field(
        default=True, description="false puts the pod in a user namespace of its own."
    )


class NodePoolSpec(Strict):
    """Which nodes, which accelerator, and how pods run there."""

    RULES = (
        Rule(
            cel="self.accelerator != 'cpu' || !has(self.device)",
            message="accelerator cpu has no device: leave it out",
            at="device",
            holds=lambda pool: pool.accelerator is not Accelerator.CPU or pool.device is None,
        ),
        SPEC_FITS,
    )

    accelerator: Accelerator = Field(description="What computes: cpu, cuda, rocm or rk3588.")
    node_selector: Labels = Field(
        default={}, description="Labels a node of the pool has; none means every node."
    )
    tolerations: Tolerations = Field(
        default=(), description="Taints of the pool's nodes that model pods put up with."
    )
    device: DeviceSpec | None = Field(
        default=None, description="The resource that hands out the accelerator; absent for cpu."
    )
    images: Annotated[
        dict[Runtime, Annotated[str, Field(pattern=IMAGE.regex, max_length=512)]],
        Field(max_length=8),
    ] = Field(
        default={},
        description="The server's image by runtime; its keys are the runtimes that the pool runs. "
        "By default the chart's images for the accelerator.",
    )
    runtime_class_name: (
        Annotated[str, Field(pattern=DNS_SUBDOMAIN.regex, max_length=253)] | None
    ) = Field(default=None, description="The pods' RuntimeClass, such as nvidia.")
    cache: CacheSpec = Field(
        default=CacheSpec(), description="The cache of services that name none themselves."
    )
    env: EnvList = Field(
        default=(), description="Variables of every server, such as HSA_OVERRIDE_GFX_VERSION."
    )
    pod_security: PodSecuritySpec = Field(
        default=PodSecuritySpec(), description="What the accelerator's driver needs of a pod."
    )

    @property
    def runtimes(self) -> tuple[Runtime, ...]:
        """The runtimes that this pool runs."""
        return tuple(self.images) or DEFAULT_RUNTIMES[self.accelerator]


class DeviceCounts(ObservedModel):
    """Devices of the pool's nodes."""

    allocatable: int = Field(default=0, ge=0, description="Devices that the nodes offer.")
    allocated: int = Field(default=0, ge=0, description="Devices that Lumen's own pods hold.")


class NodePoolStatus(ObservedModel):
    """What is known about a LumenNodePool."""

    observed_generation: int = Field(
        default=0, description="The generation of the spec that this status is about."
    )
    nodes: int = Field(default=0, ge=0, description="Nodes in the pool.")
    devices: DeviceCounts | None = Field(default=None, description="Devices of these nodes.")
    devices_free: Word = Field(
        default="", description="Free devices of all, such as 1/2; empty for cpu."
    )
    conditions: Conditions = Field(default=(), description="Statements about the pool.")


class LumenNodePool(Strict):
    """Nodes of one kind of accelerator."""

    api_version: Literal["lumen.dev/v1alpha1"] = API_VERSION
    kind: Literal["LumenNodePool"] = "LumenNodePool"
    metadata: ClusterObjectMeta
    spec: NodePoolSpec = Field(description="Which nodes, and how pods run there.")
    status: NodePoolStatus | None = Field(default=None, description="What is known.")

    @property
    def name(self) -> str:
        """The pool's name in the cluster."""
        return self.metadata.name


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
