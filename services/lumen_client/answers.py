"""What calls give back: plain frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Label:
    """One label with its share within the label set: not a probability of truth.

    `lineage` runs from kingdom to species where the label set knows it.
    """

    label: str
    score: float
    lineage: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer to a classification, best label first.

    `source` names the stage that answered `smart_classify` and is empty otherwise.
    `meta` holds everything else the server said: `scene`, `scene_score`, `*_ms`, `label_set`.
    """

    labels: tuple[Label, ...]
    model_id: str
    source: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServiceCapabilities:
    """What one service behind the address can do."""

    service: str
    model_ids: tuple[str, ...]
    runtime: str
    precisions: tuple[str, ...]
    tasks: tuple[str, ...]
    max_concurrency: int
    protocol_version: str
    extra: Mapping[str, str]
