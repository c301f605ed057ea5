"""What a repository is: read from open_clip's or transformers' configuration, or from a table.

Pure. By what a configuration says a layout is recognised; each reader returns the same facts.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from lumen_manifest.spec.enums import Runtime, Tower
from lumen_resources.errors import ModelInfoError, TokenizerError
from lumen_resources.model.choice import PREPROCESS_CFG, TOKENIZER, tokenizer_of
from lumen_resources.model.configs import model_cfg_of, section, token_text, whole, word
from lumen_resources.model.layouts import CONFIGS, PREPROCESSOR
from lumen_resources.model.model_info import (
    ArchitectureInfo,
    PreprocessInfo,
    ScoreInfo,
    SourceFormat,
    TextInfo,
)
from lumen_resources.model.onnx_graph import Graph
from lumen_resources.model.repository import MAX_TOKENIZER_BYTES, Repository, bad_file
from lumen_resources.model.scores import inferred_score
from lumen_resources.model.text_rules import TokenizerFiles, configured_length, inferred_text
from lumen_resources.model.word_list import WORD_LIST, words_of
from lumen_terms.open_clip_tags import OpenClipTag, architecture_tags, find_tag

MAX_DIM = 100_000
MAX_SIDE = 4096
DEFAULT_CLIP_DIM = 512
DEFAULT_SIGLIP_DIM = 768


Measure = Callable[[str], Graph]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a model; `source` is the file, or the table, that says it."""

    source: str
    origin: SourceFormat
    model_type: str
    embedding_dim: int
    text: TextInfo
    score: ScoreInfo
    config: Mapping[str, Any] = field(default_factory=dict)
    preprocess: PreprocessInfo | None = None
    architecture: ArchitectureInfo | None = None
    towers: frozenset[Tower] = frozenset(Tower)


def facts_of(there: Repository, graphs: Collection[str], measure: Measure | None) -> Facts:
    """Return what a repository is; raises ModelInfoError for one of an unknown kind.

    `measure` tells what a graph takes and gives, where its file is at hand: the last resort for
    `graphs` that nothing describes.
    """
    hub, plain = CONFIGS
    if hub in there.files:
        return _open_clips(there, hub, there.document(hub))
    source = there.first(plain, *(f"{runtime}/{plain}" for runtime in Runtime)) or plain
    config = there.document(there.first(source))
    if model_cfg_of(config):
        return _open_clips(there, source, config)
    kind = word(config, "model_type")
    if kind:
        return _transformers(there, config, kind)
    known = _known_tag(there)
    if known is not None:
        return _from_table(known)
    measured = None if measure is None else _measured(there, graphs, measure)
    if measured is None:
        raise unknown(there.name, f"has no {hub}, and no {plain} that says what it is")
    return measured


def _measured(there: Repository, graphs: Collection[str], measure: Measure) -> Facts | None:
    """Take a pair of ONNX graphs for a CLIP, as long as the vectors that they give."""
    shapes = [value.shape for path in graphs for value in measure(path).outputs]
    dims = {shape[1] for shape in shapes if len(shape) == 2 and shape[1] is not None}
    if len(dims) != 1:
        return None
    pixels = (value.shape for path in graphs for value in measure(path).inputs)
    size = next((s[-1] for s in pixels if len(s) == 4 and s[-1] == s[-2] and s[-1]), None)
    return Facts(
        source="the graphs, and CLIP's values for what they do not say",
        origin=SourceFormat.CUSTOM,
        model_type="bioclip" if there.is_bioclip else "clip",
        embedding_dim=dims.pop(),
        text=TextInfo(cleaning="lower", frame="clip", pad_id=0),
        score=ScoreInfo(),
        preprocess=None if size is None else _preprocess_of_size(size),
    )


def _preprocess_of_size(size: int) -> PreprocessInfo:
    if size > MAX_SIDE:
        raise unknown("The vision graph", f"takes pictures of {size:,} x {size:,}")
    return PreprocessInfo(size=size)


def unknown(name: str, found: str) -> ModelInfoError:
    """Say why a repository is none that can be read."""
    return ModelInfoError(
        f"{name[:200]} {found}.",
        remedy="docs/models.md lists the layouts that are read; for another one, write a "
        "model_info.json (docs/resources.md) beside the files.",
        file="model_info.json",
    )


def _open_clips(there: Repository, source: str, config: Mapping[str, Any]) -> Facts:
    architecture = model_cfg_of(config)
    dim = whole(architecture, "embed_dim", MAX_DIM)
    if dim is None:
        raise bad_file(source, "has no model_cfg.embed_dim, the length of the model's vectors")
    _refuse_one_tower(source, architecture)
    score = inferred_score(config)
    text = _text_of(there, config)
    preprocess = None
    is_said = there.first(CONFIGS[0], PREPROCESS_CFG, PREPROCESSOR) is not None
    if Tower.VISION in there.towers and not is_said:
        preprocess = _preprocess_by_name(there, source, config, dim)
    kind = "siglip" if score.kind == "sigmoid" else "clip"
    return Facts(
        source=source,
        origin=SourceFormat.OPENCLIP,
        model_type="bioclip" if there.is_bioclip else kind,
        embedding_dim=dim,
        text=text.model_copy(update={"context_length": configured_length(config) or 77}),
        score=score,
        config=config,
        preprocess=preprocess,
    )


def _preprocess_by_name(
    there: Repository, source: str, config: Mapping[str, Any], dim: int
) -> PreprocessInfo | None:
    """Return how pictures are prepared for a bare architecture, which does not say it."""
    if section(config, "preprocess_cfg"):
        return None
    known = _known_tag(there)
    if known is None:
        raise bad_file(source, "has no preprocess_cfg, so nothing says how pictures are prepared")
    if known.embedding_dim != dim:
        raise bad_file(
            source,
            f"gives vectors of {dim}; {known.name}, as it is called, has {known.embedding_dim}",
        )
    return _preprocess_of(known)


def _text_of(there: Repository, config: Mapping[str, Any]) -> TextInfo:
    """Return how texts become tokens; nothing for a repository of pictures alone."""
    if Tower.TEXT not in there.towers:
        return TextInfo()
    return inferred_text(config, tokenizer_files(there))


def _refuse_one_tower(source: str, architecture: Mapping[str, Any]) -> None:
    for tower in ("vision_cfg", "text_cfg"):
        if not section(architecture, tower):
            raise bad_file(source, f"has no model_cfg.{tower}, one of the two towers")


# Kinds of transformers' model_type that look servable and are not, and what is served instead.
_REFUSED = {
    "siglip2": "NaFlex, which takes pictures in patches of any number: take a SigLIP 2 of a fixed "
    "size (google/siglip2-base-patch16-224 or timm/ViT-B-16-SigLIP2)",
    "jina_clip": "jina-clip, which runs by its owner's own code: describe a pair of its graphs "
    "(onnx/vision_model.onnx, onnx/text_model.onnx) in a model_info.json",
    "clipseg": "a model that segments: take the CLIP it was made of",
    "owlvit": "a detector: take a CLIP or SigLIP",
    "owlv2": "a detector: take a CLIP or SigLIP",
    "blip": "a captioner: take a CLIP or SigLIP",
    "blip-2": "a captioner: take a CLIP or SigLIP",
    "align": "ALIGN: take a CLIP or SigLIP",
    "altclip": "AltCLIP: take a multilingual model of open_clip (xlm-roberta, nllb-clip)",
}


def _transformers(there: Repository, config: Mapping[str, Any], kind: str) -> Facts:
    read = _READERS.get(kind)
    if read is None:
        what = _REFUSED.get(kind, f"a model_type {kind!r}")
        raise ModelInfoError(
            f"{CONFIGS[1]} describes {what}, which is not served.",
            remedy="Of transformers' layout, clip, siglip, metaclip_2 and chinese_clip are served, "
            "and every model in open_clip's (docs/models.md).",
            file=CONFIGS[1],
        )
    if section(config, "vision_config").get("num_patches") is not None:
        raise ModelInfoError(
            f"{CONFIGS[1]} describes {_REFUSED['siglip2']}.",
            remedy="docs/models.md lists what is served.",
            file=CONFIGS[1],
        )
    return read(there, config)


def _clip(there: Repository, config: Mapping[str, Any]) -> Facts:
    dim = whole(config, "projection_dim", MAX_DIM) or DEFAULT_CLIP_DIM
    return _transformers_facts(there, config, dim)


def _siglip(there: Repository, config: Mapping[str, Any]) -> Facts:
    """SigLIP has no projection for pictures: a vector is as long as its vision tower is wide."""
    vision, text = section(config, "vision_config"), section(config, "text_config")
    dim = whole(vision, "hidden_size", MAX_DIM) or DEFAULT_SIGLIP_DIM
    words = whole(text, "projection_size", MAX_DIM) or whole(text, "hidden_size", MAX_DIM)
    if (words or DEFAULT_SIGLIP_DIM) != dim:
        raise bad_file(
            CONFIGS[1], f"gives texts vectors of {words or DEFAULT_SIGLIP_DIM}, pictures of {dim}"
        )
    return _transformers_facts(there, config, dim)


def _transformers_facts(there: Repository, config: Mapping[str, Any], dim: int) -> Facts:
    text = _text_of(there, config)
    return Facts(
        source=CONFIGS[1],
        origin=SourceFormat.HUGGINGFACE,
        model_type=word(config, "model_type"),
        embedding_dim=dim,
        text=text.model_copy(update={"context_length": configured_length(config)}),
        score=inferred_score(config),
        config=config,
    )


def _m_clip(there: Repository, config: Mapping[str, Any]) -> Facts:
    """A text tower alone: its pictures are those of the CLIP it was distilled from."""
    dim = whole(config, "numDims", MAX_DIM)
    if dim is None:
        raise bad_file(CONFIGS[1], "has no numDims, the length of the model's vectors")
    return Facts(
        source=CONFIGS[1],
        origin=SourceFormat.HUGGINGFACE,
        model_type="M-CLIP",
        embedding_dim=dim,
        text=_text_of(there, config),
        score=ScoreInfo(),
        config=config,
        towers=frozenset({Tower.TEXT}),
    )


# By transformers' model_type.
_READERS: dict[str, Callable[[Repository, Mapping[str, Any]], Facts]] = {
    "clip": _clip,
    "chinese_clip": _clip,
    "metaclip_2": _clip,
    "siglip": _siglip,
    "M-CLIP": _m_clip,
}


def _known_tag(there: Repository) -> OpenClipTag | None:
    """Return the tag that a repository's name means, or its checkpoint's: mobileclip2_s0.pt.

    An architecture means a tag where it has only one.
    """
    names = {name.rpartition("/")[2] for name in (there.name, there.called)}
    named = find_tag(there.called) or find_tag(there.name)
    if named is not None:
        return named
    names |= {p.removesuffix(".pt") for p in there.files if p.endswith(".pt") and "/" not in p}
    tags = {tag.name: tag for name in names for tag in architecture_tags(name)}
    return next(iter(tags.values())) if len(tags) == 1 else None


def _from_table(known: OpenClipTag) -> Facts:
    kind = "siglip" if known.has_bias else "clip"
    if known.tokenizer:
        raise unknown(known.name, f"needs the tokenizer of {known.tokenizer} and a configuration")
    return Facts(
        source=f"open_clip's table ({known.name})",
        origin=SourceFormat.OPENCLIP,
        model_type=kind,
        embedding_dim=known.embedding_dim,
        text=TextInfo(
            context_length=known.context_length, cleaning=known.cleaning, frame="clip", pad_id=0
        ),
        score=ScoreInfo(kind="sigmoid" if known.has_bias else "softmax"),
        preprocess=_preprocess_of(known),
        architecture=ArchitectureInfo(name=known.architecture, quick_gelu=known.quick_gelu),
    )


def _preprocess_of(known: OpenClipTag) -> PreprocessInfo:
    return PreprocessInfo(
        size=known.image_size,
        mean=known.mean,
        std=known.std,
        interpolation=known.interpolation,
        resize_mode=known.resize_mode,
    )


def tokenizer_files(there: Repository) -> TokenizerFiles:
    """Return what stands beside a configuration; the tokenizer is read only if it must be."""
    path = tokenizer_of(there.files)
    folder = path.rpartition(TOKENIZER)[0] if path else ""
    settings = there.document(there.first(f"{folder}tokenizer_config.json"))

    def number_of(token: str) -> int | None:
        for number, entry in section(settings, "added_tokens_decoder").items():
            if number.isdecimal() and len(number) < 10 and _is_token(entry, token):
                return int(number)
        if path is None:
            raise TokenizerError(
                f"{there.name} has no {TOKENIZER}, and its texts need one.",
                remedy=f"Take a repository that has {TOKENIZER}; spiece.model is not read.",
                file=TOKENIZER,
            )
        if path == WORD_LIST:
            return _number_of_word(there, token)
        return _number_in(there.document(path, MAX_TOKENIZER_BYTES), token)

    return TokenizerFiles(settings, number_of)


def _number_of_word(there: Repository, token: str) -> int | None:
    try:
        return words_of(there.content(WORD_LIST, MAX_TOKENIZER_BYTES)).get(token)
    except ValueError as error:
        raise bad_file(WORD_LIST, f"is not UTF-8: {error}") from error


def _is_token(entry: Any, token: str) -> bool:
    return token_text({"token": entry}, "token") == token


def _number_in(tokenizer: Mapping[str, Any], token: str) -> int | None:
    """Return a token's number in tokenizer.json: an added token, a word, or a scored piece."""
    added = tokenizer.get("added_tokens")
    for entry in added if isinstance(added, list) else ():
        if isinstance(entry, Mapping) and entry.get("content") == token:
            number = entry.get("id")
            return number if isinstance(number, int) else None
    vocabulary = section(tokenizer, "model").get("vocab")
    if isinstance(vocabulary, Mapping):
        number = vocabulary.get(token)
        return number if isinstance(number, int) else None
    pieces = vocabulary if isinstance(vocabulary, list) else ()
    found = (
        n for n, piece in enumerate(pieces) if isinstance(piece, list) and piece[:1] == [token]
    )
    return next(found, None)
