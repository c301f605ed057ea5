"""Which of a folder's files make up a model, in every layout a loader finds.

Pure: told which relative paths exist (in a folder, or in a repository's listing), it answers which
of them belong together for one runtime, precision and choice of towers.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from lumen_manifest.spec.enums import Precision, Runtime, Tower
from lumen_resources.errors import FileMissingError, RuntimeNotSupportedError
from lumen_resources.model.layouts import CONFIGS, PREPROCESSOR, ChosenFiles
from lumen_resources.model.model_info import ModelInfo, SourceFormat
from lumen_resources.model.word_list import WORD_LIST
from lumen_terms.modality import Modality

# What open_clip, transformers and tokenizers may keep beside tokenizer.json.
TOKENIZER_COMPANIONS = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "sentencepiece.bpe.model",
)
# Immich's repositories keep open_clip's preprocess_cfg as a file.
PREPROCESS_CFG = "visual/preprocess_cfg.json"
TOKENIZER = "tokenizer.json"
# Small files without which a model still loads, and gives other vectors.
DECISIVE = frozenset(
    {*CONFIGS, PREPROCESSOR, "preprocess_cfg.json", TOKENIZER, *TOKENIZER_COMPANIONS}
)
OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
TRANSFORMERS_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
# In any other folder; safetensors first.
TORCH_WEIGHTS = (
    "model.safetensors",
    "open_clip_model.safetensors",
    "model.safetensors.index.json",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
    "torch/model.pt",
    "model.pt",
)
_SHARD = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")
_PASTED_SAFELY = re.compile(r"\w[\w.:/-]*", re.ASCII)
# Which files hold a precision that is only a way to compute: bf16 starts from fp32 files.
FILE_PRECISION = {"bf16": "fp32"}
# What is added to a graph's name for the file that holds its weights.
EXTERNAL_DATA = (".data", "_data")
# What transformers' exports add to a graph's name, by precision, best first.
_EXPORT_SUFFIXES = {"fp32": ("",), "fp16": ("_fp16",), "int8": ("_int8", "_quantized")}
# Variants of a compiled graph that Immich's repositories name by how they compute.
_RKNN_VARIANTS = {"fp16": ("fp16",), "int8": ("int8", "i8", "w8a8")}

Graphs = Mapping[Tower, str]

MODALITIES = {Tower.VISION: Modality.IMAGE, Tower.TEXT: Modality.TEXT}


def onnx_pairs(precision: str) -> Iterator[tuple[str, str]]:
    """Yield (vision, text) of every layout, best first.

    Names without a precision are older, and mean fp32.
    """
    p = FILE_PRECISION.get(precision, precision)
    yield f"onnx/vision.{p}.onnx", f"onnx/text.{p}.onnx"
    if p == "fp32":
        yield "onnx/vision.onnx", "onnx/text.onnx"
        for folder in ("onnx/", ""):
            yield f"{folder}image_encoder.onnx", f"{folder}text_encoder.onnx"
            yield f"{folder}visual.onnx", f"{folder}textual.onnx"
    inside = "" if p == "fp32" else f"{p}/"
    yield f"visual/{inside}model.onnx", f"textual/{inside}model.onnx"
    for suffix in _EXPORT_SUFFIXES.get(p, ()):
        yield f"onnx/vision_model{suffix}.onnx", f"onnx/text_model{suffix}.onnx"


def rknn_pairs(precision: str, target: str) -> Iterator[tuple[str, str]]:
    """Yield (vision, text) for one RKNN target, best first."""
    yield (f"rknn/{target}/vision.{precision}.rknn", f"rknn/{target}/text.{precision}.rknn")
    yield f"rknn/{target}/image_encoder.rknn", f"rknn/{target}/text_encoder.rknn"
    for variant in _RKNN_VARIANTS.get(precision, ()):
        yield _immich_rknn(target, f"{variant}/")
    if precision == "fp16":
        yield _immich_rknn(target, "")


def _immich_rknn(target: str, variant: str) -> tuple[str, str]:
    inside = f"rknpu/{target}/{variant}model.rknn"
    return f"visual/{inside}", f"textual/{inside}"


@dataclass(frozen=True, slots=True)
class ComputeChoice:
    """How a model is to be computed; no towers mean all that it has."""

    runtime: Runtime
    precision: Precision
    rknn_target: str = ""
    towers: tuple[Tower, ...] = ()


def choose(available: Collection[str], info: ModelInfo, how: ComputeChoice) -> ChosenFiles:
    """Return the files of the first layout that is complete.

    Raises RuntimeNotSupportedError when the model does not have this runtime or tower,
    FileMissingError when a layout's files are not all there.
    """
    runtime, precision = how.runtime, how.precision
    _runtime_is_offered(info, runtime)
    wanted = _wanted_towers(info, how.towers)
    shared = _shared_files(available, runtime, wanted)
    if runtime == Runtime.TORCH:
        return _torch_files(available, shared, info, how)
    if runtime == Runtime.ONNX:
        pairs, suffix = onnx_pairs(precision), ".onnx"
    else:
        pairs, suffix = rknn_pairs(precision, how.rknn_target), ".rknn"
    graphs = [{t: p for t, p in zip(Tower, pair, strict=True) if t in wanted} for pair in pairs]
    found = next((g for g in graphs if all(p in available for p in g.values())), None)
    if found is None:
        started = next((g for g in graphs if any(p in available for p in g.values())), graphs[0])
        absent = next(p for p in started.values() if p not in available)
        raise _missing(absent, info, how, available, suffix)
    apart = sorted(path for path in available if _holds_weights_of(path, found.values()))
    return replace(
        shared,
        vision=found.get(Tower.VISION),
        text=found.get(Tower.TEXT),
        external_data=tuple(apart),
    )


def runtime_files(files: Collection[str]) -> dict[str, list[str]]:
    """Return by runtime which of these files any layout would load, for each that is complete."""
    onnx = (p for precision in _EXPORT_SUFFIXES for p in onnx_pairs(precision))
    targets = {m[1] for path in files if (m := re.search(r"(?:rknn|rknpu)/([^/]+)/", path))}
    rknn = (p for t in sorted(targets) for v in _RKNN_VARIANTS for p in rknn_pairs(v, t))
    weights, _ = _torch_choice(files)
    found = {
        "torch": [] if weights is None else [weights, *_shards(weights, files)],
        "onnx": _there(onnx, files),
        "rknn": _there(rknn, files),
    }
    return {runtime: paths for runtime, paths in found.items() if paths}


def towers_of(graphs: Collection[str]) -> frozenset[Tower]:
    """Return which towers these graphs of any layout are; both for weights of torch."""
    names = {Tower.VISION: ("vis", "image_encoder"), Tower.TEXT: ("text",)}
    found = {
        tower
        for tower, starts in names.items()
        if any(part.startswith(starts) for path in graphs for part in path.split("/"))
    }
    return frozenset(found or Tower)


def _there(pairs: Iterator[tuple[str, str]], files: Collection[str]) -> list[str]:
    graphs = [path for pair in pairs for path in pair if path in files]
    named = {f"{graph}{ending}" for graph in graphs for ending in EXTERNAL_DATA}
    return list(dict.fromkeys((*graphs, *sorted(named.intersection(files)))))


def _torch_choice(available: Collection[str]) -> tuple[str | None, str | None]:
    """Return weights and, where it decides, the configuration they belong to.

    A repository may hold a model twice, in open_clip's words and in those of transformers or timm.
    """
    hub, plain = CONFIGS
    pairs: list[tuple[str, str | None]] = []
    if hub in available:
        pairs += [(weights, hub) for weights in OPEN_CLIP_WEIGHTS]
        if plain not in available:
            pairs.insert(1, (TRANSFORMERS_WEIGHTS[0], hub))
    if plain in available:
        pairs += [(weights, plain) for weights in TRANSFORMERS_WEIGHTS]
    pairs += [(weights, None) for weights in TORCH_WEIGHTS]
    known = next((pair for pair in pairs if pair[0] in available), None)
    if known is not None:
        return known
    checkpoints = [p for p in available if "/" not in p and p.endswith(".pt")]
    return (checkpoints[0] if len(checkpoints) == 1 else None), None


def _torch_files(
    available: Collection[str], shared: ChosenFiles, info: ModelInfo, how: ComputeChoice
) -> ChosenFiles:
    weights, config = _torch_choice(available)
    if weights is None:
        raise _missing(TORCH_WEIGHTS[0], info, how, available, ".safetensors")
    shards = _shards(weights, available)
    return replace(shared, weights=weights, shards=shards, config=config or shared.config)


def _shards(weights: str, available: Collection[str]) -> tuple[str, ...]:
    """Return the parts of weights that are an index; raises FileMissingError for one that lacks."""
    if not weights.endswith(".index.json"):
        return ()
    shards = sorted(path for path in available if _SHARD.fullmatch(path))
    count = max((int(path[15:20]) for path in shards), default=1)
    for number in range(1, min(count, 1000) + 1):
        path = f"model-{number:05}-of-{count:05}.safetensors"
        if path not in shards:
            raise FileMissingError(
                f"{path} is not there; {weights} says that the weights lie in several files.",
                remedy="Complete the model's folder at its source.",
                file=path,
            )
    return tuple(shards)


def _wanted_towers(info: ModelInfo, towers: Collection[Tower]) -> frozenset[Tower]:
    has = frozenset(info.lumen.towers or Tower)
    for tower in towers:
        if tower not in has:
            raise RuntimeNotSupportedError(
                f"{info.name} has no {tower} tower.",
                remedy=f"Leave {tower} out of spec.model.towers, or take a model that has both.",
                file="model_info.json",
            )
    return frozenset(towers) or has


def _holds_weights_of(path: str, graphs: Collection[str]) -> bool:
    """Whether `path` is an ONNX graph's external data (graphs above 2 GiB keep weights apart)."""
    return any(path == f"{graph}{ending}" for graph in graphs for ending in EXTERNAL_DATA)


def _shared_files(
    available: Collection[str], runtime: Runtime, towers: frozenset[Tower]
) -> ChosenFiles:
    """Return configuration and tokenizer, which some layouts keep in a folder of their own."""

    def first(names: tuple[str, ...], *folders: str) -> str | None:
        places = [f"{folder}{name}" for folder in ("", *folders) for name in names]
        return next((path for path in places if path in available), None)

    tokenizer = first((TOKENIZER,), f"{runtime}/", "textual/") or first((WORD_LIST,))
    folder = tokenizer[: tokenizer.rfind("/") + 1] if tokenizer else ""
    beside = [f"{folder}{name}" for name in TOKENIZER_COMPANIONS]
    companions = tuple(path for path in beside if path in available and path != tokenizer)
    return ChosenFiles(
        config=first(CONFIGS, f"{runtime}/"),
        tokenizer=tokenizer,
        preprocessor=first((PREPROCESSOR,), f"{runtime}/") or first((PREPROCESS_CFG,)),
        companions=companions,
        modalities=frozenset(MODALITIES[tower] for tower in towers),
    )


def tokenizer_of(available: Collection[str]) -> str | None:
    """Return the tokenizer of a repository whose model info is yet to be derived."""
    known = (TOKENIZER, f"textual/{TOKENIZER}", WORD_LIST)
    return next((path for path in known if path in available), None)


def _runtime_is_offered(info: ModelInfo, runtime: Runtime) -> None:
    offered = info.runtimes.get(runtime)
    if offered is not None and offered.available:
        return
    there = ", ".join(info.offered()) or "none"
    remedy = "Set spec.model.runtime to one of those, or take a model that has such files."
    if Runtime.TORCH in info.offered():
        remedy = (
            "Set spec.model.runtime to torch, or make the files and let spec.model.source name "
            f"their folder: {_export_command(info, runtime)}"
        )
    raise RuntimeNotSupportedError(
        f"{info.name} has no {runtime} files (model_info.json offers: {there}).",
        remedy=remedy,
        file="model_info.json",
    )


def _export_command(info: ModelInfo, target: str) -> str:
    """Return what makes other files of the model's weights, to be pasted into a shell."""
    published = info.source.format in {SourceFormat.HUGGINGFACE, SourceFormat.OPENCLIP}
    known = published and _PASTED_SAFELY.fullmatch(info.source.repo_id)
    return f"`lumen export {info.source.repo_id if known else 'FOLDER'} --to {target} --out MADE`"


def _missing(
    path: str, info: ModelInfo, how: ComputeChoice, available: Collection[str], suffix: str
) -> FileMissingError:
    runtime, precision = how.runtime, how.precision
    there = ", ".join(sorted(p for p in available if p.endswith(suffix))[:8]) or "none"
    remedy = "Set spec.model.precision to one whose files are there, or complete the model's "
    remedy += "folder at its source."
    if _torch_choice(available)[0] is not None:
        made = _export_command(info, f"{runtime} --precision {precision}")
        remedy += f" The model's weights are there to make them of: {made}"
    return FileMissingError(
        f"{path} is not there; {runtime} in {precision} needs it ({suffix} files there: {there}).",
        remedy=remedy,
        file=path,
    )
