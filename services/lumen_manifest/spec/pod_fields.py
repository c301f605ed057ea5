"""Pieces of Kubernetes' core/v1 that both resources let a user set.

All are typed and bounded, so that `lumen up` and `kubectl explain` know them, and no manifest grows
without end. Where pods may run is `pod_placement`'s.
"""

from typing import Annotated, Literal

from pydantic import Field

from lumen_manifest.spec.field_types import (
    DNS_SUBDOMAIN,
    ENV_NAME,
    LABEL_KEY,
    Annotations,
    Labels,
    Quantity,
    Rule,
    Strict,
    UniqueBy,
)
from lumen_manifest.spec.pod_placement import Affinity, TopologySpreadConstraint

RESERVED_ENV = "LUMEN_"
OUR_LABELS = ("lumen.dev/", "app.kubernetes.io/")


class EnvVar(Strict):
    """A variable of the server's environment."""

    RULES = (
        Rule(
            cel=f"!self.name.startsWith('{RESERVED_ENV}')",
            message=f"variables that start with {RESERVED_ENV} are Lumen's own: "
            "set the field of the manifest instead",
            at="name",
            holds=lambda env: not env.name.startswith(RESERVED_ENV),
        ),
    )

    name: Annotated[str, Field(pattern=ENV_NAME.regex, max_length=128)] = Field(
        description="The variable's name."
    )
    value: Annotated[str, Field(max_length=4096)] = Field(
        default="", description="The variable's value."
    )


EnvList = Annotated[tuple[EnvVar, ...], Field(max_length=64), UniqueBy("name")]


Amounts = Annotated[
    dict[Annotated[str, Field(pattern=LABEL_KEY.regex, max_length=317)], Quantity],
    Field(max_length=16),
]
"""Quantities by the name of what they are of: cpu, memory, nvidia.com/gpu."""


class ResourceRequirements(Strict):
    """What the server's container asks of its node, as in core/v1."""

    limits: Amounts = Field(
        default={}, description="The most it may use, such as cpu: 4 and memory: 8Gi."
    )
    requests: Amounts = Field(
        default={}, description="What is set aside for it; autoscaling on cpu needs a cpu request."
    )


class LocalReference(Strict):
    """The name of an object in the same namespace."""

    name: Annotated[str, Field(pattern=DNS_SUBDOMAIN.regex, max_length=253)] = Field(
        description="The object's name."
    )


class Toleration(Strict):
    """A taint that the pods put up with, as in core/v1."""

    key: Annotated[str, Field(max_length=317)] | None = Field(
        default=None, description="The taint's key; none means every key, with operator Exists."
    )
    operator: Literal["Exists", "Equal"] = Field(
        default="Equal", description="How the value is compared."
    )
    value: Annotated[str, Field(max_length=63)] | None = Field(
        default=None, description="The taint's value."
    )
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="The taint's effect; none means every effect."
    )
    toleration_seconds: int | None = Field(
        default=None,
        ge=0,
        le=9_223_372_036_854_775_807,
        description="How long a NoExecute taint is put up with, in seconds.",
    )


Tolerations = Annotated[tuple[Toleration, ...], Field(max_length=32)]


class PodTemplate(Strict):
    """What a user may add to the pods; everything else of them is Lumen's."""

    RULES = (
        Rule(
            cel="!has(self.labels) || self.labels.all(k, "
            + " && ".join(f"!k.startsWith('{prefix}')" for prefix in OUR_LABELS)
            + ")",
            message="labels under lumen.dev/ and app.kubernetes.io/ are Lumen's own: "
            "use a prefix of yours",
            at="labels",
            holds=lambda pod: not any(key.startswith(OUR_LABELS) for key in pod.labels),
        ),
    )

    labels: Labels = Field(default={}, description="Further labels of the pods.")
    annotations: Annotations = Field(default={}, description="Further annotations of the pods.")
    affinity: Affinity | None = Field(
        default=None, description="Affinity of the pods, besides what the pool says."
    )
    tolerations: Tolerations = Field(
        default=(), description="Taints the pods put up with, besides the pool's."
    )
    node_selector: Labels = Field(
        default={}, description="Labels a node needs, besides the pool's."
    )
    priority_class_name: Annotated[str, Field(max_length=253)] | None = Field(
        default=None, description="The pods' PriorityClass."
    )
    image_pull_secrets: Annotated[
        tuple[LocalReference, ...], Field(max_length=16), UniqueBy("name")
    ] = Field(default=(), description="Secrets for pulling images.")
    topology_spread_constraints: Annotated[
        tuple[TopologySpreadConstraint, ...], Field(max_length=8)
    ] = Field(default=(), description="Constraints instead of Lumen's spread over nodes.")
