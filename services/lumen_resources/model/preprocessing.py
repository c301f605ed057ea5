"""How a picture is prepared: what three files of a model say of it, in our words.

The model info, open_clip's configuration and transformers' `preprocessor_config.json`. Pure. What
they ask for and nobody here computes is refused, never ignored: a vector from another preprocessing
looks as good and is another one.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lumen_manifest.reading.problems import first_problem
from lumen_manifest.spec.enums import PreprocessPreset
from lumen_resources.errors import InvalidConfig, ModelInfoError
from lumen_resources.model.configs import model_cfg_of, section
from lumen_resources.model.layouts import PREPROCESSOR, Preprocess
from lumen_resources.model.model_info import FILE_NAME, ModelInfo, PreprocessInfo

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
DEFAULT_SIZE = 224
PYBIOCLIP_SIZE = 224
# Files round means to four digits and more; in a vector that is below the sixth.
ROUNDED = 1e-4
_DECIDING = ("size", "resize_mode", "interpolation", "mean", "std")
# PIL's numbers, as transformers writes them; the two that CLIP models use.
_INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}
_FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
# What other processors do to a picture beside the steps below.
_OTHER_STEPS = (
    "crop_pct",
    "max_num_patches",
    "max_pixels",
    "min_pixels",
    "pad_size",
    "size_divisibility",
    "size_divisor",
)
# Processors that never crop unless told to; the others here are CLIP's, which do.
_SQUASHING = ("Siglip", "ViT", "ChineseCLIP")
_KINDS = ("image_processor_type", "feature_extractor_type")
_OPEN_CLIPS_OWN = ("interpolation", "resize_mode", "mean", "std")

Edge = int | dict[str, int | None]
Model = TypeVar("Model", bound=BaseModel)


class _Document(BaseModel):
    """The fields of an image processor that decide a vector; absent ones are the class's own."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    image_processor_type: str | None = None
    feature_extractor_type: str | None = None
    do_resize: bool | None = None
    size: Edge | None = None
    resample: int | None = None
    do_center_crop: bool | None = None
    crop_size: Edge | None = None
    do_rescale: bool | None = None
    rescale_factor: float | None = None
    do_normalize: bool | None = None
    image_mean: list[float] | None = Field(default=None, min_length=3, max_length=3)
    image_std: list[float] | None = Field(default=None, min_length=3, max_length=3)
    # Pictures are always made RGB first: for one that is, this changes nothing.
    do_convert_rgb: bool | None = None


def preprocess_of(
    info: ModelInfo,
    config: Mapping[str, Any] | None,
    preprocessor: Mapping[str, Any] | None = None,
) -> Preprocess:
    """Return how pictures are prepared.

    The model info, open_clip's `preprocess_cfg` and transformers' `preprocessor_config.json` may
    each say a part of it, and must agree where two of them speak of the same; beside open_clip's
    configuration transformers' is not read, as open_clip never does (see `unread_processor`).
    What none says is the vision tower's image size, and else CLIP's value. Raises ModelInfoError
    where they do not agree, or for what nobody here computes.
    """
    if _is_unread(config, preprocessor):
        preprocessor = None
    declared = _agreed(
        {
            "extra_metadata.lumen.preprocess in model_info.json": info.lumen.preprocess
            or PreprocessInfo(),
            "preprocess_cfg in open_clip_config.json": _published(config),
            PREPROCESSOR: _preprocess_info(preprocessor),
        }
    )
    size = _first(declared.size, _image_size(config), DEFAULT_SIZE)
    if isinstance(size, tuple):
        if size[0] != size[1]:
            raise _unsupported(f"a picture of {size[0]} x {size[1]} pixels; it must be square")
        size = size[0]
    if not 1 <= size <= 4096:
        raise _unsupported(f"a size of {size} pixels; 1 to 4096 work")
    std = _first(declared.std, CLIP_STD)
    if min(std) <= 0:
        raise _unsupported(f"a std of {std}; each must be above 0")
    resize_mode = _first(declared.resize_mode, "shortest")
    cropped_by_transformers = (
        resize_mode == "shortest"
        and info.lumen.preprocess is None
        and "model_type" in (config or {})
        and _is_transformers(preprocessor)
    )
    return Preprocess(
        size=size,
        resize_mode=resize_mode,
        interpolation=_first(declared.interpolation, "bicubic"),
        mean=_first(declared.mean, CLIP_MEAN),
        std=std,
        crop="down" if cropped_by_transformers else "even",
    )


def unread_processor(
    info: ModelInfo,
    config: Mapping[str, Any] | None,
    preprocessor: Mapping[str, Any] | None,
) -> tuple[str, ...]:
    """Return what to say of a `preprocessor_config.json` that open_clip's configuration outdoes."""
    if not _is_unread(config, preprocessor):
        return ()
    start = f"{PREPROCESSOR} is not read beside open_clip_config.json, and says otherwise"
    try:
        said = _preprocess_info(preprocessor)
    except ModelInfoError:
        return (f"{start}: it asks for steps that are not computed here.",)
    used = preprocess_of(info, config)
    found = ((name, getattr(said, name), getattr(used, name)) for name in _DECIDING)
    differ = [
        f"{name} {value}, where {own} is used"
        for name, value, own in found
        if value is not None and not _same(value, own)
    ]
    return (f"{start}: {'; '.join(differ)}.",) if differ else ()


def _is_unread(config: Mapping[str, Any] | None, preprocessor: Mapping[str, Any] | None) -> bool:
    is_open_clips = any(
        isinstance((config or {}).get(key), Mapping) for key in ("model_cfg", "preprocess_cfg")
    )
    return is_open_clips and _is_transformers(preprocessor)


def under_preset(preprocess: Preprocess, preset: PreprocessPreset | None) -> Preprocess:
    """Return how pictures are prepared under the manifest's preset.

    pybioclip's is its `preprocess_img`: to floats, `Resize((224, 224), antialias=True)`, CLIP's
    mean and std. Raises InvalidConfig for a model of another size.
    """
    if preset is not PreprocessPreset.PYBIOCLIP:
        return preprocess
    if preprocess.size != PYBIOCLIP_SIZE:
        raise InvalidConfig(
            f"spec.model.preprocess: pybioclip makes pictures of {PYBIOCLIP_SIZE} pixels, the "
            f"model takes {preprocess.size}.",
            remedy="Leave spec.model.preprocess out, or set it to model.",
        )
    return Preprocess(PYBIOCLIP_SIZE, "squash", "bilinear", CLIP_MEAN, CLIP_STD, preset=preset)


def _agreed(statements: Mapping[str, PreprocessInfo]) -> PreprocessInfo:
    """Return what all of them say together; ModelInfoError names two that contradict."""
    together: dict[str, tuple[str, Any]] = {}
    for where, said in statements.items():
        for name in _DECIDING:
            value = getattr(said, name)
            if value is None:
                continue
            before, other = together.setdefault(name, (where, value))
            if not _same(value, other):
                raise ModelInfoError(
                    f"Two files prepare pictures differently: {before} says {name} {other}, "
                    f"{where} says {value}.",
                    remedy="Keep what the checkpoint was trained with, and correct or remove the "
                    "other.",
                    file=FILE_NAME,
                )
    return PreprocessInfo(**{name: value for name, (_, value) in together.items()})


def _same(one: Any, other: Any) -> bool:
    """Whether two values prepare alike: a square may be written as one number or two."""
    if isinstance(one, str):
        return bool(one == other)
    pair = [value if isinstance(value, tuple) else (value, value) for value in (one, other)]
    return all(abs(a - b) <= ROUNDED for a, b in zip(*pair, strict=True))


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _image_size(config: Mapping[str, Any] | None) -> int | tuple[int, int] | None:
    towers = (section(model_cfg_of(config), "vision_cfg"), section(config, "vision_config"))
    for tower in towers:
        size = tower.get("image_size")
        if isinstance(size, int) and not isinstance(size, bool):
            return size
        if isinstance(size, list) and len(size) == 2 and all(isinstance(s, int) for s in size):
            return size[0], size[1]
    return None


def _published(config: Mapping[str, Any] | None) -> PreprocessInfo:
    """Read open_clip's preprocess_cfg; other libraries' files have none."""
    published = section(config, "preprocess_cfg")
    known = {k: v for k, v in published.items() if k in PreprocessInfo.model_fields}
    for key in ("mean", "std"):
        # open_clip accepts one number for all three channels.
        if isinstance(known.get(key), int | float):
            known[key] = [known[key]] * 3
    said = _validated(PreprocessInfo, known, lambda found: _unsupported(f"preprocess_cfg.{found}"))
    built = _image_size({"model_cfg": model_cfg_of(config)})
    # open_clip goes by the tower; one that takes any size gives other vectors at this one.
    if said.size is not None and built is not None and not _same(said.size, built):
        raise _unsupported(f"a size of {said.size}, its vision_cfg.image_size is {built}")
    return said


def _is_transformers(document: Mapping[str, Any] | None) -> bool:
    """Whether the file is there, and of transformers' own kind."""
    return document is not None and not any(key in document for key in _OPEN_CLIPS_OWN)


def _preprocess_info(document: Mapping[str, Any] | None) -> PreprocessInfo:
    """Return what the file says, as far as it does; nothing for a model without one.

    Raises ModelInfoError for what is malformed or not computed here.
    """
    if document is None:
        return PreprocessInfo()
    if not _is_transformers(document):
        # jina-clip's is open_clip's preprocess_cfg by another name.
        known = {k: v for k, v in document.items() if k in PreprocessInfo.model_fields}
        twice = (_Document.model_fields.keys() - {*known, *_KINDS}) & document.keys()
        if twice:
            raise _not_computed(f"{min(twice)} beside {', '.join(sorted(known))}")
        return _validated(PreprocessInfo, known)
    said = _validated(_Document, dict(document))
    _refuse_other_steps(said)
    size, mode = _geometry(said)
    mean, std = _normalisation(said)
    values = {
        "size": size,
        "resize_mode": mode,
        "interpolation": _interpolation(said.resample),
        "mean": mean,
        "std": std,
    }
    return _validated(PreprocessInfo, values)


def _refuse_other_steps(said: _Document) -> None:
    extra = said.model_extra or {}
    for key, value in extra.items():
        if (key.startswith("do_") and value) or (key in _OTHER_STEPS and value is not None):
            raise _not_computed(f"{key} {value!r}")
    if said.do_resize is False:
        raise _not_computed("do_resize false: pictures of any size")
    if said.do_rescale is False:
        raise _not_computed("do_rescale false: values of 0 to 255")
    if said.rescale_factor is not None and abs(said.rescale_factor * 255 - 1) > 1e-6:
        raise _not_computed(f"a rescale_factor of {said.rescale_factor}, not 1/255")


def _geometry(said: _Document) -> tuple[int | None, str | None]:
    """Return the square's edge and how a picture gets there."""
    kind = said.image_processor_type or said.feature_extractor_type or ""
    crops = said.do_center_crop
    if crops is None:
        crops = not kind.startswith(_SQUASHING)
    crop = _square("crop_size", said.crop_size) if crops else None
    if said.size is None:
        return crop, None
    shortest = said.size.get("shortest_edge") if isinstance(said.size, dict) else None
    if isinstance(said.size, int) and crops:
        shortest = said.size
    if shortest is None:
        edge, mode = _square("size", said.size), "squash"
    else:
        edge, mode = shortest, "shortest"
        if isinstance(said.size, dict) and _given(said.size) != {"shortest_edge"}:
            raise _not_computed(f"size {said.size}")
        if not crops:
            raise _not_computed("a shortest_edge without do_center_crop: no square")
    if crop is not None and crop != edge:
        raise _not_computed(f"a size of {edge} cropped to {crop}")
    return edge, mode


def _square(name: str, edge: Edge | None) -> int | None:
    if edge is None or isinstance(edge, int):
        return edge
    if _given(edge) == {"shortest_edge"}:
        return edge["shortest_edge"]
    if _given(edge) != {"height", "width"} or edge["height"] != edge["width"]:
        raise _not_computed(f"{name} {edge}; it must be a square")
    return edge["height"]


def _given(edge: Mapping[str, int | None]) -> set[str]:
    return {key for key, value in edge.items() if value is not None}


def _interpolation(resample: int | None) -> str | None:
    if resample is None or resample in _INTERPOLATIONS:
        return None if resample is None else _INTERPOLATIONS[resample]
    name = _FILTERS[resample] if 0 <= resample < len(_FILTERS) else "unknown"
    raise _not_computed(f"resample {resample} ({name}); 2 (bilinear) and 3 (bicubic) are computed")


def _normalisation(said: _Document) -> tuple[Any, Any]:
    if said.do_normalize is False:
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    mean, std = said.image_mean, said.image_std
    return mean and tuple(mean), std and tuple(std)


def _not_computed(found: str) -> ModelInfoError:
    return ModelInfoError(
        f"{PREPROCESSOR} asks for a preprocessing that is not computed here: {found}.",
        remedy="Correct the file to what the model was trained with; docs/resources.md says what "
        "of it is read.",
        file=PREPROCESSOR,
    )


def _unsupported(found: str) -> ModelInfoError:
    return ModelInfoError(
        f"The model's preprocessing asks for {found}.",
        remedy="Correct preprocess_cfg in open_clip_config.json, or "
        "extra_metadata.lumen.preprocess in model_info.json.",
    )


def _validated(
    kind: type[Model],
    values: dict[str, Any],
    refused: Callable[[str], ModelInfoError] = _not_computed,
) -> Model:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise refused(first_problem(error)) from error
