"""Where pods may run, in core/v1's own words: affinity and topology spread constraints.

Typed and bounded as the API server's own schema is not, so that no manifest is larger or deeper
than anybody has use for. Nothing has a default: what a user leaves out is the API server's to fill.
"""

from typing import Annotated, Literal

from pydantic import Field

from lumen_manifest.spec.field_types import LABEL_KEY, LABEL_VALUE, NAMESPACE, Labels, Strict

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
