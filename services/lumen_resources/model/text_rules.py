"""How a model's texts become tokens, as its own files say it.

Pure. The reference is the library that the files were written for: open_clip's tokenizers for its
configurations, transformers' for those of transformers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from lumen_manifest.reading.problems import first_problem
from lumen_resources.errors import ModelInfoError, TokenizerError
from lumen_resources.model.configs import flag, model_cfg_of, section, token_text, whole, word
from lumen_resources.model.layouts import Cleaning, TextRule
from lumen_resources.model.model_info import FILE_NAME, ModelInfo, TextInfo

DEFAULT_CONTEXT_LENGTH = 77
LONGEST_CONTEXT = 8192
# Reference: the code of Chinese CLIP, whose text tower has room for more.
CHINESE_CLIP_CONTEXT = 52
NLLB_DEFAULT = "eng_Latn"

_CLEANINGS = ("lower", "whitespace", "canonicalize")
_TOKENIZER_OPTIONS = frozenset({"clean", "strip_sep_token", "language", "reduction_mask"})
_PADS = ("<pad>", "[PAD]")


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """What stands beside a configuration: tokenizer_config.json, and how a token is numbered."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    number_of: Callable[[str], int | None] = lambda _: None


def inferred_text(config: Mapping[str, Any] | None, tokenizer: TokenizerFiles) -> TextInfo:
    """Return what the files say of texts; empty for a folder whose files say nothing.

    Raises ModelInfoError or TokenizerError for what nobody here computes.
    """
    architecture = model_cfg_of(config)
    if architecture:
        text_cfg = section(architecture, "text_cfg")
        if config is architecture and _is_foreign(text_cfg, tokenizer):
            return _uncleaned(text_cfg, tokenizer)
        return _open_clips(text_cfg, tokenizer)
    read = _TRANSFORMERS.get(word(config or {}, "model_type"))
    return TextInfo() if read is None else read(section(config, "text_config"), tokenizer)


def text_rule_of(
    info: ModelInfo,
    config: Mapping[str, Any] | None,
    tokenizer: TokenizerFiles,
    graph_length: int | None = None,
) -> TextRule:
    """Return the rule: as the model info states it, else as the files do, else as CLIP's.

    `graph_length` is the text length that a graph fixes. Raises ModelInfoError, TokenizerError.
    """
    stated = info.lumen.text or TextInfo()
    complete = stated.frame is not None and stated.pad_id is not None
    found = TextInfo() if complete else inferred_text(config, tokenizer)
    said = {**found.model_dump(exclude_none=True), **stated.model_dump(exclude_none=True)}
    said.pop("context_length", None)
    length = context_length_of(info, config, graph_length)
    cleaning = Cleaning(said.pop("cleaning", Cleaning.LOWER))
    return TextRule(context_length=length, cleaning=cleaning, **said)


def context_length_of(
    info: ModelInfo, config: Mapping[str, Any] | None, graph_length: int | None = None
) -> int:
    """Return how many tokens a text has: as declared, as configured, as the graph fixes it."""
    stated = info.lumen.text.context_length if info.lumen.text else None
    declared = stated or info.lumen.context_length
    length = declared or configured_length(config) or graph_length or DEFAULT_CONTEXT_LENGTH
    positions = section(config, "text_config").get("max_position_embeddings")
    if isinstance(positions, int) and length > positions:
        raise ModelInfoError(
            f"Texts have {length} tokens, config.json's text tower has {positions} positions.",
            remedy="Set extra_metadata.lumen.text.context_length in model_info.json to what the "
            "model was trained with.",
            file=FILE_NAME,
        )
    return length


def configured_length(config: Mapping[str, Any] | None) -> int | None:
    """Return how many tokens a text has as the configuration says it, None where none does."""
    text_cfg = section(model_cfg_of(config), "text_cfg")
    if text_cfg:
        return whole(text_cfg, "context_length", LONGEST_CONTEXT)
    text_config = section(config, "text_config")
    kind = word(config or {}, "model_type")
    if kind == "chinese_clip":
        return CHINESE_CLIP_CONTEXT
    default = _DEFAULT_POSITIONS.get(kind)
    if default is None:
        return None
    return whole(text_config, "max_position_embeddings", LONGEST_CONTEXT) or default


def _open_clips(text_cfg: Mapping[str, Any], tokenizer: TokenizerFiles) -> TextInfo:
    """`open_clip.get_tokenizer`: its own BPE, or a tokenizer that is named by its repository."""
    name = word(text_cfg, "hf_tokenizer_name")
    options = section(text_cfg, "tokenizer_kwargs")
    unknown = sorted(options.keys() - _TOKENIZER_OPTIONS)
    mode = word(text_cfg, "tokenizer_mode")
    if unknown or mode:
        what = f"tokenizer_mode {mode!r}" if mode else f"tokenizer_kwargs.{unknown[0][:60]!r}"
        raise _not_computed(what)
    clean = word(options, "clean")
    if clean and clean not in _CLEANINGS:
        raise _not_computed(f"tokenizer_kwargs.clean {clean!r}")
    if not name:
        return _text_info(cleaning=clean or "lower", frame="clip", pad_id=0)
    is_nllb = "nllb" in name.casefold() or _class_of(tokenizer).startswith("Nllb")
    return _text_info(
        cleaning=clean or "whitespace",
        frame="own",
        pad_id=pad_id_of(tokenizer),
        strip_sep=flag(options, "strip_sep_token"),
        language=_language(options, tokenizer) if is_nllb else None,
    )


def _is_foreign(text_cfg: Mapping[str, Any], tokenizer: TokenizerFiles) -> bool:
    """Whether a bare architecture stands beside the tokenizer of another text tower than its own.

    Exports of M-CLIP keep the architecture of the CLIP whose pictures they take.
    """
    kind = _class_of(tokenizer)
    return bool(kind) and not kind.startswith("CLIP") and not word(text_cfg, "hf_tokenizer_name")


def _language(options: Mapping[str, Any], tokenizer: TokenizerFiles) -> str:
    return word(options, "language") or word(tokenizer.settings, "src_lang") or NLLB_DEFAULT


def _uncleaned(_: Mapping[str, Any], tokenizer: TokenizerFiles) -> TextInfo:
    return _text_info(cleaning="none", frame="own", pad_id=pad_id_of(tokenizer))


def _transformers_siglip(_: Mapping[str, Any], tokenizer: TokenizerFiles) -> TextInfo:
    """SigLIP cleans in its tokenizer's class, which tokenizer.json does not hold."""
    kind = _class_of(tokenizer).removesuffix("Fast")
    cleanings: dict[str, str] = {
        "SiglipTokenizer": "canonicalize",
        "Siglip2Tokenizer": "lower",
    }
    cleaning = cleanings.get(kind, "none")
    return _text_info(cleaning=cleaning, frame="own", pad_id=pad_id_of(tokenizer))


# By transformers' model_type.
_TRANSFORMERS: dict[str, Callable[[Mapping[str, Any], TokenizerFiles], TextInfo]] = {
    "clip": _uncleaned,
    "chinese_clip": _uncleaned,
    "metaclip_2": _uncleaned,
    "siglip": _transformers_siglip,
    "M-CLIP": _uncleaned,
}
_DEFAULT_POSITIONS = {"clip": 77, "metaclip_2": 77, "siglip": 64}


def _class_of(tokenizer: TokenizerFiles) -> str:
    return word(tokenizer.settings, "tokenizer_class")


def pad_id_of(tokenizer: TokenizerFiles) -> int:
    """Return the number of the token that fills a row up; raises TokenizerError without one."""
    said = token_text(tokenizer.settings, "pad_token")
    for token in (said,) if said is not None else _PADS:
        number = tokenizer.number_of(token)
        if number is not None:
            return number
    raise TokenizerError(
        "The tokenizer's files name no pad token"
        + (f" that is in its vocabulary ({said[:60]!r} is not)." if said is not None else "."),
        remedy="Complete tokenizer_config.json with the pad_token the model was trained with, or "
        "state extra_metadata.lumen.text.pad_id in model_info.json.",
        file="tokenizer_config.json",
    )


def _text_info(**values: Any) -> TextInfo:
    try:
        return TextInfo.model_validate(values)
    except ValidationError as error:
        raise ModelInfoError(
            f"The tokenizer's files cannot be followed: {first_problem(error)}.",
            remedy="Take the model from where it was published, or state extra_metadata.lumen.text "
            "in model_info.json.",
            file="tokenizer_config.json",
        ) from error


def _not_computed(what: str) -> ModelInfoError:
    return ModelInfoError(
        f"open_clip's configuration asks for {what}, which is not computed here.",
        remedy="Take another checkpoint; docs/models.md lists those that work.",
        file="open_clip_config.json",
    )
