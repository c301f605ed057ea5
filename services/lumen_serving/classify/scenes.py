"""The scenes of a service, and which of them a picture shows: shares over their prompts.

Where the model scores each label for itself, its sigmoids go beside the shares: they say whether
any scene fits at all, while the shares say which fits best.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from lumen_manifest.spec.enums import ScenePreset
from lumen_manifest.spec.model_spec import ScenesSpec
from lumen_resources.model.layouts import ScoreRule
from lumen_serving.classify.protocol import Result
from lumen_serving.errors import BadQuery
from lumen_serving.label_index.scores import score_facts, shares, sigmoids
from lumen_wire.meta import RequestMeta, Score

DEFAULT_TOP_K = 1
_PREFIX = "a photo of "
_ARTICLES = ("a ", "an ", "the ")
# Presets whose labels are shown without the prompt's frame; others are shown as they are asked.
_SHORTENED = frozenset({ScenePreset.OCT2025, ScenePreset.ORGANISMS})


@dataclass(frozen=True, slots=True)
class SceneSet:
    """Prompts in order, and the label of each."""

    prompts: tuple[str, ...]
    labels: tuple[str, ...]

    @classmethod
    def from_spec(cls, spec: ScenesSpec | None) -> "SceneSet":
        """Resolve a preset or custom prompts; None means the default preset."""
        spec = spec or ScenesSpec()
        prompts = spec.effective_prompts
        labels = tuple(display_label(spec.effective_preset, prompt) for prompt in prompts)
        return cls(prompts, labels)


def display_label(preset: ScenePreset | None, prompt: str) -> str:
    """Return how a scene is shown: `animal` for oct2025, else the prompt as it is asked."""
    if preset not in _SHORTENED:
        return prompt
    short = prompt.removeprefix(_PREFIX)
    for article in _ARTICLES:
        if short.startswith(article):
            return short.removeprefix(article)
    return short


class SceneClassifier:
    """The scenes of a service and the unit vectors [P, dim] of their prompts."""

    def __init__(self, scenes: SceneSet, vectors: NDArray[np.float32], rule: ScoreRule) -> None:
        self.scenes = scenes
        self.vectors = vectors
        self.rule = rule
        self.digest = hashlib.sha256("\n".join(scenes.prompts).encode()).hexdigest()

    @property
    def resident_bytes(self) -> int:
        """The memory of the prompts' vectors."""
        return self.vectors.nbytes

    @property
    def facts(self) -> dict[str, str]:
        """The scenes, for the capability's `extra`."""
        return {"scenes": ",".join(self.scenes.labels)}

    def query(self, meta: RequestMeta) -> "SceneQuery":
        """Return the query that a request's meta asks for.

        Raises:
            BadQuery: scenes have no ranks, branches or sets.

        """
        if meta.rank or meta.include or meta.labels:
            raise BadQuery("Scenes have no label sets, ranks or branches: send none of them.")
        top_k = min(meta.top_k or DEFAULT_TOP_K, len(self.scenes.prompts))
        return SceneQuery(self, top_k, meta.score)


@dataclass(frozen=True, slots=True)
class SceneQuery:
    """One request's query; queries of one kind are scored together."""

    classifier: SceneClassifier
    top_k: int
    score_kind: Score

    def prepare(self) -> None:
        """There is nothing to make: the prompts' vectors are few."""

    def score(self, vectors: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
        """Return the cosines [P] of each unit row."""
        # Row by row: a product of matrices could give a row other bytes beside other rows.
        return [self.classifier.vectors @ vector for vector in vectors]

    def result(self, scored: NDArray[np.float32]) -> Result:
        """Return the best scenes with their shares over all scenes, or their cosines."""
        rule = self.classifier.rule
        values = shares(scored, rule.scale)
        best = np.argsort(-values, kind="stable")[: self.top_k]
        chosen = scored if self.score_kind is Score.COSINE else values
        labels = self.classifier.scenes.labels
        meta = {"label_set": self.classifier.digest, **score_facts(rule)}
        if rule.kind == "sigmoid":
            own = sigmoids(scored, rule)
            meta["sigmoids"] = orjson.dumps({labels[row]: float(own[row]) for row in best}).decode()
        return Result([(labels[row], float(chosen[row])) for row in best], meta)
