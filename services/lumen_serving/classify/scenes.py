"""The scenes of a CLIP service: their prompts, what they are called, which are delegated."""

from dataclasses import dataclass

from lumen_manifest.spec.enums import ScenePreset
from lumen_manifest.spec.model_spec import ScenesSpec

_PREFIX = "a photo of "
_ARTICLES = ("a ", "an ", "the ")
# Presets whose labels are shown without the prompt's frame; others are shown as they are asked.
_SHORTENED = frozenset({ScenePreset.OCT2025, ScenePreset.ORGANISMS})


@dataclass(frozen=True, slots=True)
class SceneSet:
    """Prompts in order, and for each its label and whether it is routed to the species service."""

    prompts: tuple[str, ...]
    labels: tuple[str, ...]
    routed: tuple[bool, ...]

    @classmethod
    def from_spec(cls, spec: ScenesSpec | None) -> "SceneSet":
        """Resolve a preset or custom prompts; None means the default preset."""
        spec = spec or ScenesSpec()
        prompts = spec.effective_prompts
        labels = tuple(display_label(spec.effective_preset, prompt) for prompt in prompts)
        words = tuple(word.casefold() for word in spec.effective_routes)
        routed = tuple(any(word in label.casefold() for word in words) for label in labels)
        return cls(prompts, labels, routed)


def display_label(preset: ScenePreset | None, prompt: str) -> str:
    """Return how a scene is shown: `animal` for oct2025, else the prompt as it is asked."""
    if preset not in _SHORTENED:
        return prompt
    short = prompt.removeprefix(_PREFIX)
    for article in _ARTICLES:
        if short.startswith(article):
            return short.removeprefix(article)
    return short
