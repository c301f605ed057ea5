"""A model info for a repository whose owner wrote none: from its listing and its small files.

Pure. Everything that decides a vector comes from the repository's own files, or from open_clip's
table for checkpoints that are known by name; what neither says is refused with what to do, never
guessed. What was found is said in sentences, each with the file it comes from.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from pydantic import ValidationError

from lumen_manifest.reading.problems import first_problem
from lumen_manifest.spec.enums import Tower
from lumen_resources.model.choice import (
    EXTERNAL_DATA,
    PREPROCESS_CFG,
    runtime_files,
    tokenizer_of,
    towers_of,
)
from lumen_resources.model.facts import Facts, Measure, facts_of, unknown
from lumen_resources.model.layouts import PREPROCESSOR, Preprocess
from lumen_resources.model.model_info import (
    FILE_NAME,
    MAX_FILES,
    ExtraMetadata,
    LumenMetadata,
    Metadata,
    ModelInfo,
    Origin,
    RuntimeInfo,
    TextInfo,
    relative_path,
)
from lumen_resources.model.preprocessing import preprocess_of
from lumen_resources.model.repository import Repository, bad_file, licence_of
from lumen_resources.model.scores import DEFAULT_SCALE

Runtimes = Mapping[str, list[str]]


def derive(
    name: str,
    files: Mapping[str, int],
    read: Callable[[str], bytes],
    *,
    repository: str = "",
    measure: Measure | None = None,
) -> tuple[ModelInfo, tuple[str, ...]]:
    """Return the model info of a repository, and sentences that say what was derived from what.

    `files` has the size of each file by its path, `read` gives the verified bytes of a small one,
    `repository` is where they come from as owner/name; `measure` reads a graph's inputs and
    outputs, where the files are at hand. Raises ModelInfoError or TokenizerError for a repository
    that is none of the known kinds, or whose files contradict each other.
    """
    there = Repository(repository or name, name, _plain(files), read)
    runtimes = _runtimes(there)
    there = replace(there, towers=_towers(runtimes))
    facts = facts_of(there, _graphs(runtimes, "onnx"), measure)
    towers = facts.towers & there.towers
    if not towers:
        raise bad_file(facts.source, "describes no tower that there are files for")
    _refuse_missing_processor(there, facts, towers)
    facts = replace(facts, towers=towers)
    info = _model_info(there, name, facts, runtimes)
    path = there.first(PREPROCESSOR, PREPROCESS_CFG)
    preprocess = preprocess_of(info, facts.config, there.document(path) if path else None)
    if facts.source == "open_clip_config.json" and path == PREPROCESSOR:
        path = None  # open_clip's own decides
    return info, tuple(_sentences(there, info, facts, preprocess, path))


def _plain(files: Mapping[str, int]) -> dict[str, int]:
    """Return the files that could be a model's; others are nothing that is ever opened."""
    found = {}
    for path, size in files.items():
        try:
            found[relative_path(path)] = size
        except ValueError:
            continue
        if len(found) > MAX_FILES:
            raise unknown("The repository", f"lists more than {MAX_FILES:,} files")
    return found


def _runtimes(there: Repository) -> Runtimes:
    runtimes = runtime_files(there.files)
    if not runtimes:
        raise unknown(there.name, "holds no weights or graphs of a known layout")
    for paths in runtimes.values():
        for path in paths:
            if there.files[path] < 1:
                raise bad_file(path, "is empty")
    return runtimes


def _graphs(runtimes: Runtimes, *names: str) -> list[str]:
    """Return graphs alone, without the weights that lie beside them."""
    paths = (path for name in names for path in runtimes.get(name, ()))
    return [path for path in paths if not path.endswith(EXTERNAL_DATA)]


def _towers(runtimes: Runtimes) -> frozenset[Tower]:
    """Return what there are files of: torch's weights hold both towers, graphs are one each."""
    graphs = towers_of(_graphs(runtimes, "onnx", "rknn"))
    return frozenset(Tower) if "torch" in runtimes else graphs


def _refuse_missing_processor(there: Repository, facts: Facts, towers: frozenset[Tower]) -> None:
    """Transformers' configurations do not say how pictures are prepared."""
    is_said = facts.preprocess or facts.source != "config.json" or "model_type" not in facts.config
    if Tower.VISION in towers and not is_said and PREPROCESSOR not in there.files:
        raise bad_file(PREPROCESSOR, "is not there, so nothing says how pictures are prepared")


def _model_info(there: Repository, name: str, facts: Facts, runtimes: Runtimes) -> ModelInfo:
    own = name.rpartition("/")[2] or name
    licence = licence_of(there)
    words = tokenizer_of(there.files)
    tokenizer = (words,) if words else ()
    try:
        return ModelInfo(
            name=own[:100],
            version="1.0.0",
            description=f"{there.name[:300]}, derived from {facts.source}",
            model_type=facts.model_type,
            source=Origin(format=facts.origin, repo_id=there.name[:500]),
            runtimes={
                runtime: RuntimeInfo(available=True, files=(*paths, *tokenizer))
                for runtime, paths in runtimes.items()
            },
            embedding_dim=facts.embedding_dim,
            extra_metadata=ExtraMetadata(
                lumen=LumenMetadata(
                    preprocess=facts.preprocess,
                    text=facts.text if Tower.TEXT in facts.towers else None,
                    score=facts.score,
                    architecture=facts.architecture,
                    towers=tuple(sorted(facts.towers)) if len(facts.towers) == 1 else None,
                )
            ),
            metadata=Metadata(license=licence) if licence else None,
        )
    except ValidationError as error:
        raise bad_file(facts.source, f"cannot be followed: {first_problem(error)}") from error


def _sentences(
    there: Repository, info: ModelInfo, facts: Facts, preprocess: Preprocess, processor: str | None
) -> Iterator[str]:
    offered = ", ".join(info.offered())
    yield (
        f"The repository has no {FILE_NAME}: it was read as {facts.model_type} by {facts.source}, "
        f"with vectors of {facts.embedding_dim} numbers, for {offered}."
    )
    if len(facts.towers) == 1:
        yield f"It embeds {'pictures' if Tower.VISION in facts.towers else 'texts'} alone."
    if Tower.VISION in facts.towers:
        yield (
            f"Pictures: {preprocess.size} x {preprocess.size}, {preprocess.resize_mode}, "
            f"{preprocess.interpolation}, mean {_numbers(preprocess.mean)}, std "
            f"{_numbers(preprocess.std)} ({processor or facts.source})."
        )
    if Tower.TEXT in facts.towers:
        tokenizer = tokenizer_of(there.files) or "open_clip's own words"
        yield f"Texts: {_text_sentence(facts.text)} ({facts.source}, {tokenizer})."
    if facts.score.kind == "sigmoid":
        yield f"Scores: sigmoid, each label for itself ({facts.source})."
    elif "torch" not in info.runtimes:
        yield f"Scores: shares, by a scale of {DEFAULT_SCALE:g}, since graphs do not hold theirs."
    if info.metadata and info.metadata.license:
        yield f"Licence: {info.metadata.license} (README.md)."


def _text_sentence(text: TextInfo) -> str:
    length = "as many tokens as the model takes"
    if text.context_length is not None:
        length = f"{text.context_length} tokens"
    framed = "framed as CLIP's" if text.frame == "clip" else "framed by the tokenizer's own file"
    language = f", language {text.language} first" if text.language else ""
    return f"{length}, cleaned by {text.cleaning}, {framed}{language}, filled up with {text.pad_id}"


def _numbers(values: tuple[float, float, float]) -> str:
    return " ".join(f"{value:.4g}" for value in values)
