"""Pieces of Kubernetes' core/v1 that both resources let a user set, in its own words.

All are typed and bounded as the API server's own schema is not, so that `lumen up` and `kubectl
explain` know them, and no manifest is larger or deeper than anybody has use for. What says where
pods run has no default: what a user leaves out is the API server's to fill.
"""

from typing import Annotated, Literal

from pydantic import Field

from lumen_manifest.spec.field_types import (
    DNS_SUBDOMAIN,
    ENV_NAME,
    LABEL_KEY,
    LABEL_VALUE,
    NAMESPACE,
    Annotations,
    Labels,
    Quantity,
    Rule,
    Strict,
    UniqueBy,
)

Key = Annotated[str, Field(pattern=LABEL_KEY.regex, max_length=317)]
LabelKeys = Annotated[tuple[Key, ...], Field(max_length=8)]
LabelValues = Annotated[
    tuple[Annotated[str, Field(pattern=LABEL_VALUE.regex, max_length=63)], ...],
    Field(max_length=32),
]
NodeValues = Annotated[tuple[Annotated[str, Field(max_length=253)], ...], Field(max_length=32)]
Namespaces = Annotated[
    tuple[Annotated[str, Field(pattern=NAMESPACE.regex, max_length=63)], ...],
    Field(max_length=8),
]
Weight = Annotated[int, Field(ge=1, le=100)]
WEIGHT = "How much it counts, 1 to 100."


class LabelRequirement(Strict):
    """One requirement on a pod's labels."""

    key: Key = Field(description="The label's key.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(
        description="How the label is compared with the values."
    )
    values: LabelValues | None = Field(
        default=None, description="The values; none with Exists and DoesNotExist."
    )


class LabelSelector(Strict):
    """Which objects, by their labels; an empty one means every object."""

    match_labels: Annotated[Labels, Field(max_length=16)] | None = Field(
        default=None, description="Labels that an object has."
    )
    match_expressions: Annotated[tuple[LabelRequirement, ...], Field(max_length=8)] | None = Field(
        default=None, description="Requirements that an object's labels meet."
    )


class NodeRequirement(Strict):
    """One requirement on a node's labels or fields."""

    key: Key = Field(description="The label's key, or the field's name.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = Field(
        description="How it is compared with the values."
    )
    values: NodeValues | None = Field(
        default=None, description="The values; none with Exists and DoesNotExist."
    )


NodeRequirements = Annotated[tuple[NodeRequirement, ...], Field(max_length=8)]


class NodeTerm(Strict):
    """Requirements that a node meets all of."""

    match_expressions: NodeRequirements | None = Field(
        default=None, description="Requirements on the node's labels."
    )
    match_fields: NodeRequirements | None = Field(
        default=None, description="Requirements on the node's fields, such as metadata.name."
    )


class NodeSelector(Strict):
    """Terms of which a node meets at least one."""

    node_selector_terms: Annotated[tuple[NodeTerm, ...], Field(max_length=8)] = Field(
        description="The terms; one that is met is enough."
    )


class PreferredNodes(Strict):
    """Nodes that are rather taken."""

    weight: Weight = Field(description=WEIGHT)
    preference: NodeTerm = Field(description="Requirements on the nodes.")


class NodeAffinity(Strict):
    """Which nodes the pods need, or prefer."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = Field(
        default=None, description="Nodes that the pods need."
    )
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[tuple[PreferredNodes, ...], Field(max_length=8)] | None
    ) = Field(default=None, description="Nodes that the pods prefer.")


class PodTerm(Strict):
    """Other pods, and what counts as the same place."""

    label_selector: LabelSelector | None = Field(default=None, description="Labels of the pods.")
    topology_key: Key = Field(
        description="The node's label whose value names the place, such as kubernetes.io/hostname."
    )
    namespaces: Namespaces | None = Field(
        default=None, description="Namespaces of the pods; by default the service's."
    )
    namespace_selector: LabelSelector | None = Field(
        default=None, description="Labels of the pods' namespaces; {} means every namespace."
    )
    match_label_keys: LabelKeys | None = Field(
        default=None, description="Keys whose values are the same as the pod's own."
    )
    mismatch_label_keys: LabelKeys | None = Field(
        default=None, description="Keys whose values are other than the pod's own."
    )


class PreferredPods(Strict):
    """Pods whose neighbourhood is rather sought, or avoided."""

    weight: Weight = Field(description=WEIGHT)
    pod_affinity_term: PodTerm = Field(description="The pods, and the place.")


class PodAffinity(Strict):
    """Which pods' neighbourhood is sought, or avoided."""

    required_during_scheduling_ignored_during_execution: (
        Annotated[tuple[PodTerm, ...], Field(max_length=8)] | None
    ) = Field(default=None, description="What has to be so.")
    preferred_during_scheduling_ignored_during_execution: (
        Annotated[tuple[PreferredPods, ...], Field(max_length=8)] | None
    ) = Field(default=None, description="What is rather so.")


class Affinity(Strict):
    """Near what the pods run, as in core/v1."""

    node_affinity: NodeAffinity | None = Field(default=None, description="Which nodes.")
    pod_affinity: PodAffinity | None = Field(default=None, description="Near which pods.")
    pod_anti_affinity: PodAffinity | None = Field(default=None, description="Away from which pods.")


class TopologySpreadConstraint(Strict):
    """How evenly the pods are spread over places, as in core/v1."""

    max_skew: int = Field(ge=1, le=2_147_483_647, description="The largest difference of counts.")
    topology_key: Key = Field(description="The node's label whose value names the place.")
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = Field(
        description="What becomes of a pod that cannot be placed so."
    )
    label_selector: LabelSelector | None = Field(
        default=None, description="Labels of the pods that are counted."
    )
    min_domains: int | None = Field(
        default=None, ge=1, le=2_147_483_647, description="How many places there have to be."
    )
    node_affinity_policy: Literal["Honor", "Ignore"] | None = Field(
        default=None, description="Whether nodes that the pods cannot run on count."
    )
    node_taints_policy: Literal["Honor", "Ignore"] | None = Field(
        default=None, description="Whether nodes with taints count."
    )
    match_label_keys: LabelKeys | None = Field(
        default=None, description="Keys whose values are the same as the pod's own."
    )


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
