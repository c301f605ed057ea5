"""The ready-made scene prompts and which of their labels are delegated to species."""

from collections.abc import Mapping
from types import MappingProxyType

from lumen_manifest.spec.enums import ScenePreset

_OCT2025 = (
    "a photo of a person",
    "a photo of an animal",
    "a photo of a vehicle",
    "a photo of food",
    "a photo of a building",
    "a photo of nature",
    "a photo of an object",
    "a photo of a landscape",
)

PROMPTS: Mapping[ScenePreset, tuple[str, ...]] = MappingProxyType(
    {
        ScenePreset.OCT2025: _OCT2025,
        ScenePreset.AUG2025: (
            "a photo of an animal",
            "a photo of a bird",
            "a photo of an insect",
            "a photo of a human-made object",
            "a photo of a landscape",
            "an abstract painting",
        ),
        ScenePreset.ORGANISMS: (*_OCT2025, "a photo of a plant", "a photo of a fungus"),
    }
)
DEFAULT_ROUTES = ("animal", "bird", "insect")
"""A scene is delegated when its label contains one of these words."""

ROUTES: Mapping[ScenePreset, tuple[str, ...]] = MappingProxyType(
    {
        ScenePreset.OCT2025: DEFAULT_ROUTES,
        ScenePreset.AUG2025: DEFAULT_ROUTES,
        ScenePreset.ORGANISMS: (*DEFAULT_ROUTES, "plant", "fungus"),
    }
)
