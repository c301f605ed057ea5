"""Label sets that go along with a model, with the vectors that its checkpoint gives them."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from lumen_export.errors import ExportRefused
from lumen_export.graphs import embed
from lumen_manifest.reading.problems import first_problem
from lumen_manifest.spec.enums import Family
from lumen_manifest.spec.model_spec import LabelSetSpec
from lumen_resources.errors import translated
from lumen_resources.labels.checks import label_set_files
from lumen_resources.labels.label_sets import load_labels
from lumen_resources.labels.rows import WrongRowError, refuse_wrong_rows
from lumen_resources.labels.templates import frames
from lumen_resources.model.layouts import VerifiedModel
from lumen_resources.model.lock_file import digest_of
from lumen_resources.progress import FetchPhase, Progress
from lumen_serving.backends.torch.library import TorchTower
from lumen_serving.media.text import Tokenizer
from lumen_serving.prepare.label_vectors import Prompts

_PROMPTS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class LabelPlan:
    """Files of labels to take along; vectors are computed as for a model of this family."""

    files: tuple[Path, ...] = ()
    family: Family = Family.CLIP


def label_set_specs(plan: LabelPlan) -> tuple[LabelSetSpec, ...]:
    """Return what a manifest says of each file's label set, which is named after it.

    Raises ExportRefused for a name that none can have, or that two files have.
    """
    names = [file.stem for file in plan.files]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ExportRefused(
            f"Two label sets would be called {twice}.", remedy="Rename one of the files."
        )
    try:
        return tuple(LabelSetSpec(name=name) for name in names)
    except ValidationError as error:
        raise ExportRefused(
            f"A label set is named after its file: {first_problem(error)}",
            remedy="Rename the file to what the manifest is to call it.",
        ) from error


def write_labels(
    plan: LabelPlan, model: VerifiedModel, tower: TorchTower, folder: Path, progress: Progress
) -> dict[str, dict[str, str]]:
    """Copy each file, write its vectors beside it, and return what the model info says of them.

    The vectors are those of the family's default template, float32 [N, dim], unit rows. Raises
    ResourceError when a file holds no labels, ExportRefused when one of them has no vector.
    """
    tokenizer = Tokenizer.load(model)
    datasets = {}
    for file, spec in zip(plan.files, label_set_specs(plan), strict=True):
        at = {"labels": f"labels/{spec.name}.json", "embeddings": f"labels/{spec.name}.npy"}
        place = folder / at["labels"]
        place.parent.mkdir(exist_ok=True)
        with translated(file, "reading"):
            shutil.copyfile(file, place)
        known = label_set_files(spec, plan.family, file, digest_of(place))
        labels = load_labels(known)
        prompts = Prompts(labels.embedded(taxonomic=known.taxonomic), frames(known.template))
        progress.begin(FetchPhase.PREPARING, total_bytes=len(labels) * model.embedding_dim * 4)
        progress.at(spec.name)
        np.save(folder / at["embeddings"], _rows(prompts, tokenizer, tower, progress))
        datasets[spec.name] = at
    return datasets


def _rows(
    prompts: Prompts, tokenizer: Tokenizer, tower: TorchTower, progress: Progress
) -> NDArray[np.float32]:
    at_once = max(1, _PROMPTS_AT_ONCE // len(prompts.around))
    blocks = []
    for start in range(0, len(prompts.texts), at_once):
        tokens, _ = tokenizer.encode(prompts.of(slice(start, start + at_once)))
        blocks.append(prompts.mean([embed(tower, tokens)]))
        progress.add(blocks[-1].nbytes)
    rows = np.concatenate(blocks)
    try:
        refuse_wrong_rows(np.linalg.norm(rows, axis=1), range(len(rows)))
    except WrongRowError as error:
        raise ExportRefused(
            f"The vector of {prompts.texts[error.row]!r} is {error.found}.",
            remedy="Take this label out of the file.",
        ) from error
    return rows
