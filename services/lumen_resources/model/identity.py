"""Whether files are those of the model and the family that a manifest names. Pure.

Only what contradicts is refused: a name that is nobody's in particular says nothing, and one model
is written in many ways (`ViT-B-32::openai`, `immich-app/ViT-B-32__openai`, a hub's own name).
Asked by whoever plans a model's files, so before anything large is fetched.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lumen_manifest.server_config import ServerConfig
from lumen_manifest.spec.enums import Family
from lumen_resources.errors import ModelMismatchError
from lumen_resources.model.configs import model_cfg_of, section, whole
from lumen_resources.model.model_info import FILE_NAME, ModelInfo
from lumen_terms.open_clip_tags import OpenClipTag, open_clip_tags

_MAX_PATCH = 1024
# Of the two families that share out 1, only BioCLIP's labels are taxa; its names tell it apart.
_BIOCLIPS = {"bioclip": ("", 512), "bioclip2": ("2", 768), "bioclip25vith14": ("25", 1024)}
_BIOCLIP = "bioclip"
# transformers writes ViT-B-32 as clip-vit-base-patch32.
_TRANSFORMERS = re.compile(r"^clip-vit-(base|large|huge)-patch(\d+)(?:-(\d+))?$")
_LETTER = {"base": "b", "large": "l", "huge": "h"}
# The patch is the number that ends an architecture's name, or stands before its size.
_PATCH = re.compile(r"^ViT-[A-Za-z0-9]+?-(\d{2})(?:$|-)")


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model that a name stands for; `tag` is empty when only the architecture is named.

    `dims` and `sizes` are the lengths of its vectors and the edges of its pictures, as far as they
    are known.
    """

    architecture: str
    tag: str = ""
    dims: frozenset[int] = frozenset()
    sizes: frozenset[int] = frozenset()
    patch: int | None = None

    def may_be(self, other: "NamedModel") -> bool:
        """Tell whether both may mean one model."""
        tags = {self.tag, other.tag}
        return self.architecture == other.architecture and (len(tags) == 1 or "" in tags)


def check_identity(info: ModelInfo, config: ServerConfig) -> None:
    """Compare what the model info says with the manifest; raises ModelMismatchError."""
    _check_family(info, config)
    asked = known_as(config.model.name)
    if not asked:
        return
    for said in (info.source.repo_id, info.name):
        found = known_as(said or "")
        if found and not any(one.may_be(other) for one in asked for other in found):
            raise _mismatch(config, f"the files are of {said}")
    _check_number(config, "vectors of", info.embedding_dim, {d for one in asked for d in one.dims})
    preprocess = info.lumen.preprocess
    if preprocess is not None and isinstance(preprocess.size, int):
        check_size(config, preprocess.size)


def check_size(config: ServerConfig, size: int) -> None:
    """Compare the edge of the model's pictures, in pixels; raises ModelMismatchError."""
    sizes = {edge for one in known_as(config.model.name) for edge in one.sizes}
    _check_number(config, "pictures with an edge of", size, sizes)


def check_architecture(config: ServerConfig, document: Mapping[str, Any] | None) -> None:
    """Compare the patches of the vision tower that a configuration describes, where it says them.

    Raises ModelMismatchError.
    """
    said = document or {}
    patch = whole(section(model_cfg_of(said), "vision_cfg"), "patch_size", _MAX_PATCH)
    patch = patch or whole(section(said, "vision_config"), "patch_size", _MAX_PATCH)
    patches = {one.patch for one in known_as(config.model.name) if one.patch is not None}
    _check_number(config, "patches with an edge of", patch, patches)


def known_as(name: str) -> tuple[NamedModel, ...]:
    """Return the models that a name may stand for, none for a name that is nobody's.

    A name is a model's own, open_clip's `arch::tag` or `arch__tag`, or a repository's, with or
    without its owner and in any case.
    """
    last = _as_open_clip(name.rpartition("/")[2])
    words = _letters(last)
    if words in _BIOCLIPS:
        tag, dim = _BIOCLIPS[words]
        return (NamedModel(_BIOCLIP, tag or "1", frozenset({dim}), frozenset({224})),)
    by_tag = [tag for tag in open_clip_tags() if words in _spellings(tag)]
    if by_tag:
        return tuple(_of_tag(tag) for tag in by_tag)
    architecture = _base(re.split("::|__", last)[0])
    tags = [tag for tag in open_clip_tags() if _base(tag.architecture) == architecture]
    return (_of_architecture(architecture, tags),) if tags else ()


def families_of(info: ModelInfo) -> frozenset[Family]:
    """Return the families that a model may be of, by what its model info says; all if nothing."""
    kind = info.model_type.casefold()
    names = (kind, info.name.casefold(), (info.source.repo_id or "").casefold())
    if any(_BIOCLIP in name for name in names):
        return frozenset({Family.BIOCLIP})
    score = info.lumen.score
    if "siglip" in kind or (score is not None and score.kind == "sigmoid"):
        return frozenset({Family.SIGLIP})
    return frozenset({Family.CLIP}) if "clip" in kind else frozenset(Family)


def _check_family(info: ModelInfo, config: ServerConfig) -> None:
    families = families_of(info)
    if config.family in families or not config.family_stated:
        return
    found = ", ".join(sorted(families))
    raise ModelMismatchError(
        f"The service is of family {config.family}, and its files are a {found} model "
        f"({info.source.repo_id or info.name}, {info.model_type}).",
        remedy=f"Write family: {found}, or name the files of a {config.family} model in "
        "spec.model.source. A model of your own says what it is in model_info.json: model_type.",
        file=FILE_NAME,
    )


def _check_number(config: ServerConfig, what: str, found: int | None, known: set[int]) -> None:
    if found is None or not known or found in known:
        return
    expected = " or ".join(str(each) for each in sorted(known))
    raise _mismatch(config, f"the files give {what} {found}, and that model has {expected}")


def _mismatch(config: ServerConfig, found: str) -> ModelMismatchError:
    return ModelMismatchError(
        f"The service asks for {config.model.name}, but {found}.",
        remedy="Write the name of the model that the files hold in spec.model.name, or name the "
        "right files in spec.model.source.",
        file=FILE_NAME,
    )


def _of_tag(tag: OpenClipTag) -> NamedModel:
    return NamedModel(
        _base(tag.architecture),
        _letters(tag.tag),
        frozenset({tag.embedding_dim}),
        frozenset({tag.image_size}),
        _patch_of(tag.architecture),
    )


def _of_architecture(architecture: str, tags: list[OpenClipTag]) -> NamedModel:
    dims = frozenset(tag.embedding_dim for tag in tags)
    sizes = frozenset(tag.image_size for tag in tags)
    return NamedModel(architecture, "", dims, sizes, _patch_of(tags[0].architecture))


def _patch_of(architecture: str) -> int | None:
    found = _PATCH.match(architecture)
    return int(found[1]) if found else None


def _spellings(tag: OpenClipTag) -> Iterator[str]:
    yield _letters(f"{tag.architecture}{tag.tag}")
    yield _letters(tag.repository.rpartition("/")[2])


def _as_open_clip(name: str) -> str:
    """Write a name of transformers' in open_clip's way; any other stays."""
    found = _TRANSFORMERS.match(name.casefold())
    if found is None:
        return name
    size = f"-{found[3]}" if found[3] else ""
    return f"ViT-{_LETTER[found[1]]}-{found[2]}{size}"


def _base(architecture: str) -> str:
    """Write an architecture without what belongs to its weights."""
    return _letters(architecture).replace("quickgelu", "")


def _letters(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
