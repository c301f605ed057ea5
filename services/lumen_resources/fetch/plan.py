"""Which files a configuration needs, and what proves them: pure, from names and digests."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from lumen_manifest.server_config import ServerConfig
from lumen_manifest.spec.model_spec import LabelSetSpec
from lumen_resources.errors import (
    ChecksumMismatchError,
    DatasetNotFoundError,
    FileMissingError,
    ModelInfoError,
    ResourceNotFoundError,
    labels_missing,
)
from lumen_resources.model.choice import DECISIVE, ComputeChoice, choose
from lumen_resources.model.identity import check_identity
from lumen_resources.model.layouts import ChosenFiles
from lumen_resources.model.model_info import FILE_NAME, Dataset, ModelInfo
from lumen_resources.sources.protocol import revision_fits
from lumen_terms.modality import Modality

# Folders of a model in which layouts keep files, a star for any name; nothing else is listed.
LISTED_FOLDERS = (
    "",
    "onnx",
    "torch",
    "labels",
    "embeddings",
    "rknn/*",
    *(f"{tower}{inside}" for tower in ("visual", "textual") for inside in ("", "/*")),
    *(f"{tower}/rknpu/*{inside}" for tower in ("visual", "textual") for inside in ("", "/*")),
)
MAX_LISTED = 10_000
# The chip whose RKNN files are meant where none is named.
DEFAULT_TARGET = "rk3588"

Proof = TypeVar("Proof")


@dataclass(frozen=True, slots=True)
class WantedFile:
    """What one configuration uses of a model; paths are relative to the model's folder.

    `whole` is the model with all its towers: what its embedding space is known by, whichever of
    them are loaded.
    """

    chosen: ChosenFiles
    whole: ChosenFiles
    label_sets: tuple[tuple[LabelSetSpec, Dataset], ...]
    parity: tuple[str, ...]

    def paths(self) -> tuple[str, ...]:
        """Return every file once, model_info.json left out (it proves the others)."""
        named = [*self.chosen.all_files(), *self.parity]
        for _, dataset in self.label_sets:
            named += [p for p in (dataset.labels, dataset.embeddings) if p]
        return tuple(dict.fromkeys(named))


def plan_files(info: ModelInfo, config: ServerConfig, available: Collection[str]) -> WantedFile:
    """Choose a model's files for a configuration, given which there are.

    Raises RuntimeNotSupportedError, FileMissingError, DatasetNotFoundError, ModelInfoError, and
    ModelMismatchError for the files of another model or family.
    """
    if info.embedding_dim is None:
        raise ModelInfoError(
            f"{FILE_NAME} has no embedding_dim, which serving needs.",
            remedy="Add embedding_dim: the length of the model's vectors.",
            file=FILE_NAME,
        )
    check_identity(info, config)
    spec = config.model
    target = config.rknn_target or DEFAULT_TARGET
    how = ComputeChoice(spec.runtime, spec.precision, target)
    chosen, whole = _towers(info, replace(how, towers=spec.towers or ()), available)
    own = (spec for spec in config.label_sets if spec.source is None)
    label_sets = tuple((spec, _dataset(info, spec, available)) for spec in own)
    parity = info.lumen.parity
    golden = (
        (parity.vectors, *(i.image for i in parity.inputs if i.image is not None)) if parity else ()
    )
    return WantedFile(chosen, whole, label_sets, golden)


def _towers(
    info: ModelInfo, how: ComputeChoice, available: Collection[str]
) -> tuple[ChosenFiles, ChosenFiles]:
    """Return what is loaded, and the whole model as far as its files are known."""
    chosen = choose(available, info, how)
    if not how.towers:
        return chosen, chosen
    known = info.digests()
    try:
        whole = choose({*available, *known}, info, replace(how, towers=()))
    except FileMissingError:
        return chosen, chosen
    if chosen.modalities == {Modality.IMAGE} and chosen.tokenizer in known:
        # Its digest is part of the embedding space; the file itself is for texts.
        chosen = replace(chosen, tokenizer=None, companions=())
    return chosen, whole


def _dataset(info: ModelInfo, spec: LabelSetSpec, available: Collection[str]) -> Dataset:
    """Return a label set's files: as the model info says, else by their name in older layouts."""
    if spec.name in info.datasets:
        dataset = info.datasets[spec.name]
        # A matrix that is named but not there was not shipped: it is computed.
        ships = dataset.embeddings in available
        return dataset if ships else dataset.model_copy(update={"embeddings": None})
    for folder in ("", "labels/", "onnx/", "torch/"):
        stem = f"{folder}{spec.name}"
        if f"{stem}.npz" in available:
            return Dataset(labels=f"{stem}.npz", embeddings=f"{stem}.npz")
        if f"{stem}.json" in available:
            matrix = f"{stem}.npy"
            return Dataset(
                labels=f"{stem}.json", embeddings=matrix if matrix in available else None
            )
    if halved := labels_missing(spec.name, available):
        raise halved
    there = ", ".join(sorted(info.datasets)) or "none"
    raise DatasetNotFoundError(
        f"Label set {spec.name} is not in {info.name} (there: {there}).",
        remedy="Name one of those in spec.labelSets, leave the list out to serve embeddings only, "
        "or add the set to `datasets` in model_info.json.",
        file=FILE_NAME,
    )


def proven(
    wanted: WantedFile,
    info: ModelInfo,
    digests: Mapping[str, Proof],
    source: str,
    folder: str = "FOLDER",
) -> dict[str, Proof]:
    """Return what proves each wanted file; raises ModelInfoError when one has nothing.

    `folder` is what to type for the folder of the files, where they can be written to.
    """
    unproven = [path for path in wanted.paths() if path not in digests]
    if unproven:
        shown = ", ".join(unproven[:5]) + (" and others" if len(unproven) > 5 else "")
        raise ModelInfoError(
            f"{source} proves no size and SHA-256 for {shown} (extra_metadata.lumen.files in "
            f"{info.name}'s {FILE_NAME}).",
            remedy="Record them where the files are known to be good: "
            f"`lumen resources verify --write {folder}`.",
            file=FILE_NAME,
        )
    return {path: digests[path] for path in wanted.paths()}


def check_revision(config: ServerConfig, resolved: str, where: str) -> None:
    """Raise unless `resolved` is what the manifest asks for and the first pod verified."""
    asked = config.model.source.revision or ""
    if not revision_fits(asked, resolved):
        raise ResourceNotFoundError(
            f"{where} is at revision {resolved[:12]}, {asked} was asked for.",
            remedy="Correct spec.model.source.revision, or leave it out to take what is there.",
            file=FILE_NAME,
        )
    check_pin(config, resolved, where)


def check_pin(config: ServerConfig, resolved: str, where: str) -> None:
    """Raise unless `resolved` is what the first pod verified, if there was one."""
    if config.pinned_revision and config.pinned_revision != resolved:
        raise ChecksumMismatchError(
            f"{where} is at revision {resolved[:12]}, the first pod verified "
            f"{config.pinned_revision[:12]}.",
            remedy="The source changed under a running service. Put the earlier files back, or "
            "change spec.model to take the new ones.",
            file=FILE_NAME,
        )


def remote_files(info: ModelInfo, proven_files: Collection[str]) -> set[str]:
    """Return which files a remote folder has, as far as its model info says."""
    named = {path for runtime in info.runtimes.values() for path in runtime.all_files()}
    return named | set(proven_files)


def local_files(root: Path, info: ModelInfo) -> set[str]:
    """Return which files a folder has: in the places that layouts know, and those named."""
    named = (*info.digests(), *(p for r in info.runtimes.values() for p in r.all_files()))
    sets = (p for d in info.datasets.values() for p in (d.labels, d.embeddings) if p)
    there = {path for path in (*named, *sets) if (root / path).exists()}
    # What decides a vector is missed when it was proven and is gone, not done without.
    decisive = {path for path in info.digests() if path.rpartition("/")[2] in DECISIVE}
    return listed_files(root) | there | decisive


def listed_files(root: Path) -> set[str]:
    """Return which files lie in the places that layouts know."""
    found: set[str] = set()
    for pattern in LISTED_FOLDERS:
        for folder in _folders("", pattern.split("/") if pattern else [], root):
            found |= {folder + p.name for p in _entries(root / folder) if p.is_file()}
    return found


def _folders(above: str, parts: list[str], root: Path) -> Iterator[str]:
    """Yield each folder that a pattern means, relative and with a slash at its end."""
    if not parts:
        yield above
        return
    head, *rest = parts
    names = [head]
    if head == "*":
        names = [p.name for p in _entries(root / above) if p.is_dir()]
    for name in names:
        yield from _folders(f"{above}{name}/", rest, root)


def _entries(folder: Path) -> list[Path]:
    try:
        return [p for _, p in zip(range(MAX_LISTED), folder.iterdir(), strict=False)]
    except OSError:
        return []
