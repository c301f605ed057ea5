"""LumenModelService: one model, served.

The one definition of the resource: the parser, the CRD, `kubectl explain` and the documentation's
field table all come from the models below.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from lumen_manifest.names import PINS_INFIX, digest_of
from lumen_manifest.spec.enums import (
    SCENE_FAMILIES,
    Family,
    MetricType,
)
from lumen_manifest.spec.field_types import (
    CALLER_NAME,
    DNS_LABEL,
    DNS_SUBDOMAIN,
    EXTERNAL_ADDRESS,
    NAMESPACE,
    SPEC_FITS,
    Labels,
    Rule,
    Strict,
    UniqueBy,
    always,
)
from lumen_manifest.spec.model_spec import (
    LabelSetSpec,
    ModelSpec,
    NamesSpec,
    ScenesSpec,
)
from lumen_manifest.spec.pod_fields import PodTemplate, ResourceRequirements
from lumen_manifest.spec.service_settings import (
    AutoscalingSpec,
    CacheSpec,
    RolloutSpec,
    ServerSpec,
)
from lumen_manifest.spec.service_status import (
    ModelServiceStatus,
)

SERVICE_NAME_MAX = 50
"""A child's name is at most 63 characters: the service's, a hyphen, and 12 for the variant."""


class ClusterObjectMeta(Strict):
    """metadata of an object that belongs to no namespace."""

    name: Annotated[str, Field(pattern=DNS_SUBDOMAIN.regex, min_length=1, max_length=63)] = Field(
        description="The object's name."
    )
    labels: Labels = Field(default={}, description="Labels of the object itself.")
    annotations: dict[str, str] = Field(default={}, description="Annotations of the object itself.")
    generation: int = Field(default=0, description="Counts the spec's changes; the API server's.")
    uid: str = Field(default="", description="The API server's identifier of the object.")
    resource_version: str = Field(default="", description="The API server's.")
    creation_timestamp: str | None = Field(default=None, description="The API server's.")
    deletion_timestamp: str | None = Field(default=None, description="The API server's.")
    deletion_grace_period_seconds: int | None = Field(default=None, description="The API server's.")
    generate_name: str = Field(default="", description="The API server's.")
    self_link: str = Field(default="", description="The API server's, long unused.")
    finalizers: tuple[str, ...] = Field(default=(), description="The API server's.")
    owner_references: tuple[dict[str, Any], ...] = Field(default=(), description="Owners, if any.")
    managed_fields: tuple[dict[str, Any], ...] = Field(
        default=(), description="The API server's record of who set what.", repr=False
    )


class ObjectMeta(ClusterObjectMeta):
    """metadata of a LumenModelService; its name becomes part of the names of Services."""

    name: Annotated[
        str, Field(pattern=DNS_LABEL.regex, min_length=1, max_length=SERVICE_NAME_MAX)
    ] = Field(description="The service's name; callers may ask for it.")
    namespace: Annotated[str, Field(pattern=NAMESPACE.regex, max_length=63)] = Field(
        default="default", description="The namespace; its router serves this service."
    )


API_VERSION: Literal["lumen.dev/v1alpha1"] = "lumen.dev/v1alpha1"
NOT_A_REVISION = frozenset({"replicas", "autoscaling", "aliases", "default", "rollout"})
"""Fields that change no pod: they neither make a revision nor are they rolled back."""


def _asks_for_cpu(spec: Any) -> bool:
    if spec.autoscaling is None:
        return True
    return "cpu" in spec.resources.requests or all(
        metric.type is not MetricType.CPU for metric in spec.autoscaling.metrics
    )


class ModelServiceSpec(Strict):
    """What is wanted."""

    RULES = (
        Rule(
            cel="has(self.pool) != has(self.external)",
            message="name a pool, or an external address: exactly one of the two",
            at="pool",
            holds=lambda spec: (spec.pool is None) != (spec.external is None),
        ),
        Rule(
            cel="!has(self.scenes) || self.family in ['clip', 'siglip']",
            message="scenes belong to the families clip and siglip",
            at="scenes",
            holds=lambda spec: spec.scenes is None or spec.family in SCENE_FAMILIES,
        ),
        Rule(
            cel="self.family == oldSelf.family",
            message="family cannot change: delete the service and make another",
            at="family",
            holds=always,
        ),
        Rule(
            cel="!has(self.autoscaling) || !self.autoscaling.metrics.exists(m, m.type == 'cpu')"
            " || (has(self.resources.requests) && 'cpu' in self.resources.requests)",
            message="autoscaling on cpu needs spec.resources.requests.cpu",
            at="autoscaling",
            holds=_asks_for_cpu,
        ),
        SPEC_FITS,
    )

    family: Family = Field(
        description="The kind of model: clip, bioclip or siglip. It cannot change later."
    )
    aliases: Annotated[
        tuple[Annotated[str, Field(pattern=CALLER_NAME.regex, max_length=100)], ...],
        Field(max_length=16),
        UniqueBy(),
    ] = Field(default=(), description="Further names that callers may use for this service.")
    default: bool = Field(
        default=False,
        description="Answer for the family in this namespace; of two that do, the older one wins.",
    )
    model: ModelSpec = Field(description="Which model, how it is computed, and from which files.")
    label_sets: Annotated[tuple[LabelSetSpec, ...], Field(max_length=16), UniqueBy("name")] = Field(
        default=(),
        description="Names that pictures are classified with, the first by default; "
        "without any the service embeds only.",
    )
    scenes: ScenesSpec | None = Field(
        default=None,
        description="The first stage of smart_classify, for the families clip and siglip; "
        "{} takes the defaults.",
    )
    pool: Annotated[str, Field(pattern=NAMESPACE.regex, max_length=63)] | None = Field(
        default=None,
        description="The LumenNodePool whose nodes serve it: cpu, cuda, rocm, rk3588 or your own.",
    )
    replicas: int = Field(
        default=1,
        ge=0,
        le=1000,
        description="How many pods; leave it out of a manifest that autoscales.",
    )
    autoscaling: AutoscalingSpec | None = Field(
        default=None, description="Let the number of pods follow the load."
    )
    server: ServerSpec = Field(
        default=ServerSpec(), description="Limits and switches of the model server."
    )
    cache: CacheSpec | None = Field(
        default=None,
        description="The volume that holds the model's files; by default the pool's.",
    )
    rollout: RolloutSpec = Field(
        default=RolloutSpec(), description="How a change of the spec is rolled out."
    )
    resources: ResourceRequirements = Field(
        default=ResourceRequirements(),
        description="What the server's container asks of its node; docs/sizing.md has the "
        "defaults. The pool's device is added to it.",
    )
    pod_template: PodTemplate = Field(default=PodTemplate(), description="What to add to the pods.")
    external: Annotated[str, Field(pattern=EXTERNAL_ADDRESS.regex, max_length=260)] | None = Field(
        default=None,
        description="Instead of a pool: host:port of a server outside the cluster, such as a "
        "board with `lumen serve`. It is routed to and attested, not deployed.",
    )


class LumenModelService(Strict):
    """One model, served from the nodes of one pool."""

    api_version: Literal["lumen.dev/v1alpha1"] = API_VERSION
    kind: Literal["LumenModelService"] = "LumenModelService"
    metadata: ObjectMeta
    spec: ModelServiceSpec = Field(description="What is wanted.")
    status: ModelServiceStatus | None = Field(default=None, description="What is known.")

    @property
    def name(self) -> str:
        """The service's name in its namespace."""
        return self.metadata.name

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name: what identifies the object."""
        return self.metadata.namespace, self.metadata.name

    @property
    def revised_spec(self) -> dict[str, Any]:
        """The part of the spec that makes a revision."""
        spec = self.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {key: value for key, value in spec.items() if key not in NOT_A_REVISION}

    @cached_property
    def revision_name(self) -> str:
        """The revision's name, by what decides its pods: equal specs are one revision."""
        return f"{self.name}-{digest_of(self.revised_spec)}"

    @cached_property
    def pins_name(self) -> str:
        """The name of the ConfigMap of the pins: they are of the model and its label sets."""
        sets = [
            {"name": one.name, "source": one.source and one.source.model_dump(mode="json")}
            for one in self.spec.label_sets
        ]
        model = {"model": self.spec.model.model_dump(mode="json"), "sets": sets}
        lists = [said.model_dump(mode="json") for said in self._lists_from_elsewhere]
        if lists:
            model["lists"] = lists
        return f"{self.name}{PINS_INFIX}{digest_of(model)}"

    @property
    def has_sets_from_elsewhere(self) -> bool:
        """Whether label sets, or lists that narrow them, have sources of their own."""
        return bool(self._lists_from_elsewhere) or any(s.source for s in self.spec.label_sets)

    @property
    def _lists_from_elsewhere(self) -> tuple[NamesSpec, ...]:
        lists = (said for one in self.spec.label_sets for said in one.name_lists.values())
        return tuple(said for said in lists if said.uri is not None)

    @cached_property
    def model_digest(self) -> str:
        """The digest of spec.model: while it stays, so does the commit."""
        return digest_of(self.spec.model.model_dump(mode="json"))

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the fields; what was computed of this object is computed of the copy anew."""
        copy = super().model_copy(update=update, deep=deep)
        for computed in copy.__dict__.keys() - type(self).model_fields.keys():
            del copy.__dict__[computed]
        return copy
