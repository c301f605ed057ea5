"""How a service runs: its limits, its number of pods, its cache, its rollouts."""

from typing import Annotated

from pydantic import Field

from lumen_manifest.spec.enums import CacheType, LogLevel, MetricType
from lumen_manifest.spec.field_types import NAMESPACE, Quantity, Rule, Strict, UniqueBy
from lumen_manifest.spec.pod_fields import EnvList


class MetricSpec(Strict):
    """One figure that autoscaling holds near a target."""

    type: MetricType = Field(
        description="inflight: requests in a pod; queueWait: milliseconds a request waits; "
        "cpu: percent of the cpu request."
    )
    target: int = Field(
        ge=1, le=100_000, description="The figure per pod that is aimed at, in the type's unit."
    )


class AutoscalingSpec(Strict):
    """Let the number of pods follow the load."""

    RULES = (
        Rule(
            cel="self.minReplicas <= self.maxReplicas",
            message="minReplicas must not exceed maxReplicas",
            at="minReplicas",
            holds=lambda scaling: scaling.min_replicas <= scaling.max_replicas,
        ),
    )

    min_replicas: int = Field(default=1, ge=1, le=1000, description="The fewest pods.")
    max_replicas: int = Field(ge=1, le=1000, description="The most pods.")
    metrics: Annotated[
        tuple[MetricSpec, ...], Field(min_length=1, max_length=3), UniqueBy("type")
    ] = Field(
        default=(MetricSpec(type=MetricType.INFLIGHT, target=8),),
        description="What is looked at; the one that asks for most pods wins.",
    )


class ServerSpec(Strict):
    """Limits and switches of the model server."""

    max_batch_size: int = Field(
        default=32,
        ge=1,
        le=1024,
        description="The largest batch; the server measures which size up to it is best.",
    )
    max_queue: int = Field(
        default=512,
        ge=1,
        le=100_000,
        description="Items of one caller that may wait; more are refused at once."
        " Callers share twice as many, so that a newcomer finds a place.",
    )
    max_payload_mib: int = Field(
        default=50,
        alias="maxPayloadMiB",
        ge=1,
        le=512,
        description="The largest picture that is accepted, in MiB.",
    )
    decode_memory_mib: int = Field(
        default=1024,
        alias="decodeMemoryMiB",
        ge=128,
        le=65_536,
        description="The memory that decoding may take over all pictures at once, in MiB; "
        "one picture may take three quarters of it.",
    )
    device_memory_mib: int = Field(
        default=0,
        alias="deviceMemoryMiB",
        ge=0,
        le=4_194_304,
        description="The device memory that the process may take, in MiB; 0 means all of it.",
    )
    log_level: LogLevel = Field(
        default=LogLevel.INFO, description="The least severe line that is logged."
    )
    env: EnvList = Field(default=(), description="Further variables of the server's environment.")


class CacheSpec(Strict):
    """The volume that holds a service's model files."""

    RULES = (
        Rule(
            cel="self.type != 'persistentVolumeClaim' || has(self.claimName)",
            message="a persistentVolumeClaim needs claimName, the name of an existing claim",
            at="claimName",
            holds=lambda cache: (
                cache.type is not CacheType.PERSISTENT_VOLUME_CLAIM or cache.claim_name is not None
            ),
        ),
        Rule(
            cel="self.type != 'emptyDir' || (!has(self.claimName) && !self.shared)",
            message="claimName and shared belong to type persistentVolumeClaim",
            at="type",
            holds=lambda cache: (
                cache.type is not CacheType.EMPTY_DIR
                or (cache.claim_name is None and not cache.shared)
            ),
        ),
    )

    type: CacheType = Field(
        default=CacheType.EMPTY_DIR,
        description="emptyDir goes with the pod; persistentVolumeClaim stays.",
    )
    size_limit: Quantity = Field(
        default="8Gi", description="The most an emptyDir may grow to; pods beyond it are evicted."
    )
    claim_name: Annotated[str, Field(pattern=NAMESPACE.regex, max_length=253)] | None = Field(
        default=None, description="An existing claim in the service's namespace."
    )
    shared: bool = Field(
        default=False,
        description="The claim can be mounted on several nodes (ReadWriteMany); "
        "otherwise all pods stay on one node.",
    )


class RolloutSpec(Strict):
    """How a change of the spec is rolled out."""

    stall_seconds: int = Field(
        default=120,
        ge=10,
        le=86_400,
        description="Fetching or preparing without any progress for this long is Stalled.",
    )
    progress_deadline_seconds: int = Field(
        default=900,
        ge=30,
        le=604_800,
        description="A revision that is not Ready this long after its last progress has failed.",
    )
    auto_rollback: bool = Field(
        default=True, description="Return to the last Ready revision when a revision fails."
    )
    allow_reindex: bool = Field(
        default=False,
        description="Serve a revision of another embedding space: "
        "every stored vector must then be computed anew.",
    )
