"""From verified files to a VerifiedModel: contents are checked here, and pins compared."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer

from lumen_manifest.server_config import ServerConfig
from lumen_manifest.spec.enums import Runtime
from lumen_resources.errors import ChecksumMismatchError, ResourceValidationError
from lumen_resources.fetch.golden_set import (
    OF_ANOTHER_SPACE,
    check_vectors,
    golden_set_of,
    kept_golden_set,
    rules_of,
)
from lumen_resources.fetch.plan import DEFAULT_TARGET, WantedFile
from lumen_resources.fetch.verify import PathResolver, inside
from lumen_resources.labels.checks import NOT_SHIPPED, MatrixCheck, checked, label_set_files
from lumen_resources.labels.label_sets import load_labels
from lumen_resources.labels.name_lists import NameLists
from lumen_resources.model.contents import (
    TOKENIZER_SETTINGS,
    check_graphs,
    check_settings,
    check_sides,
    check_weights,
    load_tokenizer,
    read_config,
    refuse_cased_words,
)
from lumen_resources.model.identity import check_architecture, check_size
from lumen_resources.model.layouts import (
    ChosenFiles,
    LabelSetFiles,
    TextRule,
    VerifiedModel,
)
from lumen_resources.model.lock_file import locked_files, overall
from lumen_resources.model.model_info import FILE_NAME, Dataset, FileDigest, ModelInfo
from lumen_resources.model.preprocessing import preprocess_of, under_preset, unread_processor
from lumen_resources.model.rknn_file import check_rknn
from lumen_resources.model.scores import scalars_of, score_rule_of
from lumen_resources.model.text_rules import DEFAULT_CONTEXT_LENGTH, TokenizerFiles, text_rule_of
from lumen_resources.model.traits import embedding_space
from lumen_terms.modality import Modality

SAFETENSORS = (".safetensors", ".safetensors.index.json")
SPACE_OF_ONE_TOWER = (
    "only one tower's files are known, so its vectors count as another embedding space than the "
    "whole model's: record all digests with `lumen resources verify --write FOLDER` to have one"
)


@dataclass(frozen=True, slots=True)
class SetApart:
    """A label set from a source of its own: verified files in a folder of their own.

    `seen` is by path the stat identity that each had when it was read.
    """

    root: Path
    dataset: Dataset
    digests: Mapping[str, FileDigest]
    seen: Mapping[str, str]
    revision: str


@dataclass(frozen=True, slots=True)
class Apart:
    """What label sets have from elsewhere: whole sets by name, and lists that narrow them."""

    sets: Mapping[str, SetApart] = field(default_factory=dict)
    lists: NameLists = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UnverifiedModel:
    """A model whose files agree with their digests (model_info.json's own is among them).

    `root` is where the files are or will be, `cache` the model's folder in the cache.
    `derived` says from what the model info was derived, when the source has none.
    `apart` is what its label sets have from elsewhere.
    """

    config: ServerConfig
    root: Path
    cache: Path
    info: ModelInfo
    wanted: WantedFile
    digests: Mapping[str, FileDigest]
    revision: str
    warnings: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()
    apart: Apart = Apart()

    def promised(self) -> dict[str, FileDigest]:
        """Return the digests of the files that model_info.json proves."""
        return {path: digest for path, digest in self.digests.items() if path != FILE_NAME}


def describe(subject: UnverifiedModel, at: PathResolver, *, thorough: bool) -> VerifiedModel:
    """Check contents and return the model; `at` says where a file lies right now.

    Not `thorough` means the same bytes passed all of it before, so only what is cheap is done.
    Raises ResourceValidationError and its kinds.
    """
    info, chosen = subject.info, subject.wanted.chosen
    dim = info.embedding_dim or 0
    config, preprocessor = (
        read_config(at(path) if path else None) for path in (chosen.config, chosen.preprocessor)
    )
    own = preprocess_of(info, config, preprocessor)
    if Modality.IMAGE in chosen.modalities:
        check_size(subject.config, own.size)
        check_architecture(subject.config, config)
    preprocess = under_preset(own, subject.config.model.preprocess)
    graph_length = None
    if any(graph and graph.endswith(".onnx") for graph in (chosen.vision, chosen.text)):
        graph_length = check_graphs(at, chosen, preprocess, dim)
    if subject.config.model.runtime is Runtime.RKNN:
        target = subject.config.rknn_target or DEFAULT_TARGET
        graph_length = check_rknn(at, chosen, preprocess, dim, target)
    text, tokenizer = TextRule(DEFAULT_CONTEXT_LENGTH), _loader(chosen, at)
    if Modality.TEXT in chosen.modalities:
        files_of_words = _tokenizer_files(chosen, at, tokenizer)
        text = text_rule_of(info, config, files_of_words, graph_length)
        _refuse_other_length(text, graph_length)
    score, remarks = score_rule_of(info, config, _scalars(chosen, at))
    if chosen.weights and not chosen.weights.endswith(SAFETENSORS):
        remarks = ()  # what a pickle holds is known when torch has loaded it
    whole, known = subject.wanted.whole, info.digests() | dict(subject.digests)
    if not known.keys() >= set(whole.weight_files()):
        whole, remarks = chosen, (*remarks, SPACE_OF_ONE_TOWER)
    rules = rules_of(preprocess, text, dim, chosen.modalities)
    set_of_its_own = info.lumen.parity
    parity, about = golden_set_of(set_of_its_own, subject.root, known, rules)
    if set_of_its_own and preprocess != own and any(i.image for i in set_of_its_own.inputs):
        parity, about = None, (OF_ANOTHER_SPACE,)
    parity = parity or kept_golden_set(subject.cache, known, rules)
    if thorough:
        _check_thoroughly(subject, at, dim, text, tokenizer)
    label_sets = tuple(_label_sets(subject, at, dim, thorough=thorough))
    digests = (subject.digests, *(apart.digests for apart in subject.apart.sets.values()))
    files = [digest for each in digests for digest in each.values()]
    model = VerifiedModel(
        name=subject.config.model.name,
        model_id=info.name,
        root=subject.root,
        info=info,
        runtime=subject.config.model.runtime,
        precision=subject.config.model.precision,
        files=chosen.under(subject.root),
        preprocess=preprocess,
        text=text,
        score=score,
        embedding_dim=dim,
        embedding_space=embedding_space(info, whole, known, preprocess, dim),
        revision=subject.revision,
        digest=_model_digest(subject),
        parity=parity,
        label_sets=label_sets,
        cache=subject.cache,
        bytes=sum(digest.size for digest in files),
        file_count=len(files),
        warnings=(
            *subject.warnings,
            *subject.derived,
            *unread_processor(info, config, preprocessor),
            *remarks,
            *about,
            *_about(label_sets),
        ),
        modalities=chosen.modalities,
    )
    _compare_pins(subject.config, model)
    return model


def proven_by(
    model: VerifiedModel, subject: UnverifiedModel, seen: Mapping[str, str]
) -> VerifiedModel:
    """Return the model with what proves each file; `seen` is its stat identity when it was read."""
    locked = locked_files(subject.digests, seen)
    proofs = {subject.root / path: file for path, file in locked.items()}
    for one in subject.apart.sets.values():
        locked = locked_files(one.digests, one.seen)
        proofs |= {one.root / path: file for path, file in locked.items()}
    return replace(model, proofs=proofs)


def _about(label_sets: Iterable[LabelSetFiles]) -> Iterator[str]:
    """Yield what a user should know of the label sets."""
    for one in label_sets:
        # That none are shipped is nothing to be warned of: the server computes them and says so.
        if one.note not in {"", NOT_SHIPPED}:
            yield f"{one.name}: {one.note}"
        yield from (f"{one.name}: {remark}" for remark in one.remarks)


# Loads a model's tokenizer when it is first asked for; None for a model without.
TokenizerLoader = Callable[[], Tokenizer | None]


def _loader(chosen: ChosenFiles, at: PathResolver) -> TokenizerLoader:
    """Return what loads the tokenizer once, however many of its tokens are looked up."""
    path = chosen.tokenizer
    return cache(lambda: None if path is None else load_tokenizer(at(path)))


def _tokenizer_files(
    chosen: ChosenFiles, at: PathResolver, tokenizer: TokenizerLoader
) -> TokenizerFiles:
    """Return what stands beside the tokenizer; it is loaded only if a token must be looked up."""
    settings = next((p for p in chosen.companions if p.endswith(TOKENIZER_SETTINGS[0])), None)

    def number_of(token: str) -> int | None:
        core = tokenizer()
        return None if core is None else core.token_to_id(token)

    return TokenizerFiles(read_config(at(settings)) or {} if settings else {}, number_of)


def _scalars(chosen: ChosenFiles, at: PathResolver) -> dict[str, float]:
    """Return what the weights say of scores."""
    files = chosen.shards or ((chosen.weights,) if chosen.weights else ())
    return scalars_of([at(path) for path in files])


def _refuse_other_length(text: TextRule, graph_length: int | None) -> None:
    if graph_length in {None, text.context_length}:
        return
    raise ResourceValidationError(
        f"The text graph takes {graph_length} tokens, the model info says {text.context_length}.",
        remedy="Correct extra_metadata.lumen.text.context_length, or export the model anew.",
        file=FILE_NAME,
    )


def _check_thoroughly(
    subject: UnverifiedModel,
    at: PathResolver,
    dim: int,
    text: TextRule,
    tokenizer: TokenizerLoader,
) -> None:
    chosen = subject.wanted.chosen
    core = tokenizer()
    if chosen.tokenizer and core is not None:
        for path in chosen.companions:
            if path.endswith(TOKENIZER_SETTINGS):
                said = read_config(at(path)) or {}
                refuse_cased_words(chosen.tokenizer, path, said)
                check_settings(path, said, text, core.token_to_id)
                if text.frame == "own" and not text.language:
                    check_sides(path, said, core)
    for path in chosen.shards or ((chosen.weights,) if chosen.weights else ()):
        check_weights(at(path))
    parity = subject.info.lumen.parity
    if parity:
        check_vectors(at(parity.vectors), (len(parity.inputs), dim))


def _label_sets(
    subject: UnverifiedModel, at: PathResolver, dim: int, *, thorough: bool
) -> list[LabelSetFiles]:
    found = []
    own = {spec.name: dataset for spec, dataset in subject.wanted.label_sets}
    for spec in subject.config.label_sets:
        apart = subject.apart.sets.get(spec.name)
        root, digests, place, dataset = subject.root, subject.digests, at, own.get(spec.name)
        if apart is not None:
            root, digests, dataset = apart.root, apart.digests, apart.dataset
            place = inside(apart.root)
        assert dataset is not None, "a plan has every label set that is not from elsewhere"
        labels = place(dataset.labels)
        family, digest = subject.config.family, digests[dataset.labels]
        files = label_set_files(spec, family, labels, digest, subject.apart.lists)
        if dataset.embeddings:
            digest = digests[dataset.embeddings]
            check = MatrixCheck(place(dataset.embeddings), digest, dim)
            files = check.check(files) if thorough else check.recall(files)
        elif thorough:
            files = checked(files, load_labels(files))
        files = replace(files, revision=apart.revision if apart is not None else "")
        found.append(_in_place(files, root, dataset.labels, dataset.embeddings, place))
    return found


def _in_place(
    files: LabelSetFiles, root: Path, labels: str, embeddings: str | None, at: PathResolver
) -> LabelSetFiles:
    """Name the files where they will be, when they were looked at before their move."""
    moved = files.embeddings
    if embeddings and files.embeddings == at(embeddings):
        moved = root / embeddings
    return replace(files, labels=root / labels, embeddings=moved)


def _model_digest(subject: UnverifiedModel) -> str:
    """Over the model's own files: naming another label set does not make it another model.

    What was derived follows from them, and may be worded anew by a newer version.
    """
    own = () if subject.derived else (FILE_NAME,)
    paths = (*own, *subject.wanted.chosen.all_files())
    return overall({path: subject.digests[path] for path in paths})


def _compare_pins(config: ServerConfig, model: VerifiedModel) -> None:
    expected = config.model.expect_embedding_space
    if expected and expected != model.embedding_space:
        raise ResourceValidationError(
            f"The files give embedding space {model.embedding_space}, "
            f"spec.model.expectEmbeddingSpace is {expected}.",
            remedy="Vectors of the two cannot be compared. Name the files that were used before, "
            "or change expectEmbeddingSpace and embed everything anew.",
        )
    if config.pinned_digest and config.pinned_digest != model.digest:
        raise ChecksumMismatchError(
            f"The files have digest {model.digest[:12]}..., the first pod verified "
            f"{config.pinned_digest[:12]}....",
            remedy="The source changed under a running service. Put the earlier files back, or "
            "change spec.model to take the new ones.",
        )
