"""Which repository a model's name stands for when the manifest names no source. Pure.

Only repositories that are known to be there: for any other name a source must be named.
"""

from lumen_manifest.spec.enums import Region, Runtime
from lumen_manifest.spec.model_spec import ModelSpec
from lumen_terms.open_clip_tags import architecture_tags, find_tag

OWNERS = {Region.OTHER: "hf://Lumilio-Photos", Region.CN: "modelscope://LumilioPhotos"}
"""Who publishes models in Lumen's own layout, at each region's hub."""

PUBLISHED = frozenset(
    {"MobileCLIP2-S2", "MobileCLIP2-S4", "CN-CLIP_ViT-B-16", "CN-CLIP_ViT-L-14", "bioclip-2"}
)
"""What those owners publish."""

_BIOCLIP = frozenset({"bioclip", "bioclip-2", "bioclip-2.5-vith14"})

# What immich-app publishes as ONNX files (many as RKNN files too), by open_clip's names.
_IMMICH = [
    "RN101__openai",
    "RN101__yfcc15m",
    "RN50__cc12m",
    "RN50__openai",
    "RN50__yfcc15m",
    "RN50x16__openai",
    "RN50x4__openai",
    "RN50x64__openai",
    "ViT-B-16-SigLIP-256__webli",
    "ViT-B-16-SigLIP-384__webli",
    "ViT-B-16-SigLIP-512__webli",
    "ViT-B-16-SigLIP-i18n-256__webli",
    "ViT-B-16-SigLIP2__webli",
    "ViT-B-16-SigLIP__webli",
    "ViT-B-16-plus-240__laion400m_e31",
    "ViT-B-16-plus-240__laion400m_e32",
    "ViT-B-16__laion400m_e31",
    "ViT-B-16__laion400m_e32",
    "ViT-B-16__openai",
    "ViT-B-32-SigLIP2-256__webli",
    "ViT-B-32__laion2b-s34b-b79k",
    "ViT-B-32__laion2b_e16",
    "ViT-B-32__laion400m_e31",
    "ViT-B-32__laion400m_e32",
    "ViT-B-32__openai",
    "ViT-H-14-378-quickgelu__dfn5b",
    "ViT-H-14-quickgelu__dfn5b",
    "ViT-H-14__laion2b-s32b-b79k",
    "ViT-L-14-336__openai",
    "ViT-L-14-quickgelu__dfn2b",
    "ViT-L-14__laion2b-s32b-b82k",
    "ViT-L-14__laion400m_e31",
    "ViT-L-14__laion400m_e32",
    "ViT-L-14__openai",
    "ViT-L-16-SigLIP-256__webli",
    "ViT-L-16-SigLIP-384__webli",
    "ViT-L-16-SigLIP2-256__webli",
    "ViT-L-16-SigLIP2-384__webli",
    "ViT-L-16-SigLIP2-512__webli",
    "ViT-SO400M-14-SigLIP-384__webli",
    "ViT-SO400M-14-SigLIP2-378__webli",
    "ViT-SO400M-14-SigLIP2__webli",
    "ViT-SO400M-16-SigLIP2-256__webli",
    "ViT-SO400M-16-SigLIP2-384__webli",
    "ViT-SO400M-16-SigLIP2-512__webli",
    "ViT-g-14__laion2b-s12b-b42k",
    "ViT-gopt-16-SigLIP2-256__webli",
    "ViT-gopt-16-SigLIP2-384__webli",
    "XLM-Roberta-Base-ViT-B-32__laion5b_s13b_b90k",
    "XLM-Roberta-Large-ViT-H-14__frozen_laion5b_s13b_b90k",
    "nllb-clip-base-siglip__mrl",
    "nllb-clip-base-siglip__v1",
    "nllb-clip-large-siglip__mrl",
    "nllb-clip-large-siglip__v1",
    "LABSE-Vit-L-14",
    "XLM-Roberta-Large-Vit-B-16Plus",
    "XLM-Roberta-Large-Vit-B-32",
    "XLM-Roberta-Large-Vit-L-14",
]


def _letters(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


_BY_LETTERS = {_letters(name): name for name in _IMMICH}


def default_uri(model: ModelSpec) -> str | None:
    """Return the source that a name stands for, None when it stands for none that is known.

    `owner/name` is a repository of the region's hub as it is.
    """
    name, region = model.name, model.source.region
    if "/" in name:
        hub = OWNERS[region].partition("://")[0]
        return f"{hub}://{name}"
    own = f"{OWNERS[region]}/{name}" if name in PUBLISHED else None
    # The makers publish weights, at one hub only; graphs are in Lumen's own layout.
    if region is not Region.OTHER or (own and model.runtime is not Runtime.TORCH):
        return own
    found = _repository(name, model.runtime)
    return own if found is None else f"hf://{found}"


def _repository(name: str, runtime: Runtime) -> str | None:
    if name in _BIOCLIP:
        return f"imageomics/{name}"
    exported = _BY_LETTERS.get(_letters(name))
    if exported is not None and runtime is not Runtime.TORCH:
        return f"immich-app/{exported}"
    tag = find_tag(name)
    if tag is None:
        tags = tuple(architecture_tags(name))
        tag = tags[0] if len(tags) == 1 else None
    return None if tag is None else tag.repository
