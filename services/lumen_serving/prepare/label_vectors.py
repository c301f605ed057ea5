"""Computes what `prepare` found missing: label vectors with the model's text tower, search codes.

Loads the runtime, and like the server checks device, dimension and parity first: vectors are kept,
and wrong ones would be wrong for as long.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import closing

import numpy as np
import structlog
from numpy.typing import NDArray

from lumen_resources.fetch.verify import ensure_unchanged
from lumen_resources.labels import prepared_labels
from lumen_resources.labels.label_sets import Labels, load_labels, load_matrix
from lumen_resources.model.layouts import LabelSetFiles, VerifiedModel
from lumen_resources.progress import FetchPhase
from lumen_serving.backends.base import Backend
from lumen_serving.classify.labels import code_cache, rows_named
from lumen_serving.errors import LabelsUnusable
from lumen_serving.label_index.codes import encode_cached
from lumen_serving.media.text import Tokenizer
from lumen_serving.prepare.work import PrepareWork
from lumen_serving.startup.load import on_its_device
from lumen_serving.startup.parity import check_parity
from lumen_terms.modality import Modality

# Each append waits for the disk: rows are collected for about as long as may be lost.
APPEND_EVERY_S = 2.0

log = structlog.get_logger(__name__)

# A label set whose vectors are not there yet.
Missing = tuple[LabelSetFiles, Labels]
# From prompts to their unit rows [N, dim].
Embed = Callable[[Sequence[str]], NDArray[np.float32]]


def compute(model: VerifiedModel, missing: Sequence[Missing], work: PrepareWork) -> None:
    """Compute and keep the vectors of these label sets.

    Raises:
        StartError: the runtime, the device or the reference does not allow it.
        ResourceError: no tokenizer, the cache cannot be written, vectors are not finite, or a
            signal stopped the work.

    """
    if Modality.TEXT not in model.modalities:
        raise LabelsUnusable(
            f"The vectors of {missing[0][0].name} must be computed, and the model "
            f"{model.name} has no text tower to do it. {missing[0][0].note}".strip(),
            remedy="Add its text graph, or ship the vectors with the label set.",
        )
    tokenizer = Tokenizer.load(model)
    with closing(on_its_device(model, work.config, work.settings)) as backend:
        check_parity(backend, model, tokenizer)
        ensure_unchanged(model)
        for each in missing:
            compute_one(model, each, lambda texts: _vectors(backend, tokenizer, texts), work)


def _vectors(backend: Backend, tokenizer: Tokenizer, texts: Sequence[str]) -> NDArray[np.float32]:
    tokens, _ = tokenizer.encode(texts)
    return backend.embed_texts(tokens)


def compute_one(model: VerifiedModel, missing: Missing, embed: Embed, work: PrepareWork) -> None:
    """Compute one label set, from the row where an earlier run was stopped."""
    files, labels = missing
    prompts = labels.prompts(files.template, files.label_format)
    row_bytes = model.embedding_dim * 4
    with prepared_labels.begin(model, files, labels) as preparation:
        kept = preparation.done_rows
        total = len(prompts) * row_bytes
        work.progress.begin(
            FetchPhase.PREPARING, total_bytes=total, kept_bytes=kept * row_bytes, files=1
        )
        work.progress.at(files.name)
        log.info(
            "computing label vectors",
            label_set=files.name,
            rows=len(prompts),
            kept_rows=kept,
            because=files.note,
        )
        _append_rows(preparation, prompts, embed, work)
        path = preparation.commit()
        work.progress.file_done()
    log.info("label vectors computed", label_set=files.name, rows=len(prompts), file=str(path))


def _append_rows(
    preparation: prepared_labels.Preparation,
    prompts: Sequence[str],
    embed: Embed,
    work: PrepareWork,
) -> None:
    """Embed from where the preparation stands to the end."""
    pending: list[NDArray[np.float32]] = []
    appended_at = time.monotonic()
    batch = work.config.server.max_batch_size
    for at in range(preparation.done_rows, len(prompts), batch):
        late = time.monotonic() - appended_at > APPEND_EVERY_S
        if pending and (late or work.stop.requested):
            preparation.append(np.concatenate(pending))
            pending, appended_at = [], time.monotonic()
        work.stop.check()
        pending.append(embed(prompts[at : at + batch]))
        work.progress.add(pending[-1].nbytes)
    if pending:
        preparation.append(np.concatenate(pending))


def keep_codes(model: VerifiedModel, files: LabelSetFiles) -> None:
    """Write the search codes of a large label set, whose vectors are there by now."""
    labels = load_labels(files)
    path = files.embeddings or prepared_labels.prepared(model, files, labels)
    if path is None:
        return
    matrix = load_matrix(path, model.embedding_dim, len(labels))
    with rows_named(path, files, labels):
        encode_cached(matrix, code_cache(model, files))
    log.info("search codes kept", label_set=files.name, rows=len(labels))
