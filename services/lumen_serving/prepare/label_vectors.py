"""Computes what `prepare` found missing: label vectors with the model's text tower, search codes.

Loads the runtime, and like the server checks device, dimension and parity first: vectors are kept,
and wrong ones would be wrong for as long.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from lumen_resources.fetch.verify import ensure_unchanged
from lumen_resources.labels import prepared_labels
from lumen_resources.labels.label_sets import Labels, load_labels, load_matrix
from lumen_resources.labels.templates import Frame, framed, frames
from lumen_resources.model.layouts import LabelSetFiles, VerifiedModel
from lumen_resources.progress import FetchPhase
from lumen_serving.backends.base import Backend
from lumen_serving.classify.labels import rows_named
from lumen_serving.errors import LabelsUnusable
from lumen_serving.label_index.codes import CodeCache, encode_cached
from lumen_serving.media.text import Tokenizer
from lumen_serving.prepare.work import PrepareWork
from lumen_serving.startup.load import on_its_device
from lumen_serving.startup.parity import FAKE, check_parity
from lumen_serving.startup.probe import probe_texts
from lumen_serving.startup.reference import record_reference
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
        if backend.report().runtime != FAKE:
            probe_texts(backend, tokenizer)
        check_parity(backend, model, tokenizer)
        ensure_unchanged(model)
        if model.parity is None:
            # In a pod the server after it may not write here.
            record_reference(model, backend)
        for each in missing:
            compute_one(model, each, lambda texts: _vectors(backend, tokenizer, texts), work)


def _vectors(backend: Backend, tokenizer: Tokenizer, texts: Sequence[str]) -> NDArray[np.float32]:
    tokens, _ = tokenizer.encode(texts)
    return backend.embed_texts(tokens)


def compute_one(model: VerifiedModel, missing: Missing, embed: Embed, work: PrepareWork) -> None:
    """Compute one label set, from the row where an earlier run was stopped."""
    files, labels = missing
    prompts = Prompts(labels.embedded(taxonomic=files.taxonomic), frames(files.template))
    row_bytes = model.embedding_dim * 4
    with prepared_labels.begin(model, files, labels) as preparation:
        kept = preparation.done_rows
        total = len(labels) * row_bytes
        work.progress.begin(
            FetchPhase.PREPARING, total_bytes=total, kept_bytes=kept * row_bytes, files=1
        )
        work.progress.at(files.name)
        log.info(
            "computing label vectors",
            label_set=files.name,
            rows=len(labels),
            kept_rows=kept,
            sentences=len(prompts.around),
            because=files.note,
        )
        _append_rows(preparation, prompts, embed, work)
        path = preparation.commit()
        work.progress.file_done(files.name)
    log.info("label vectors computed", label_set=files.name, rows=len(labels), file=str(path))


@dataclass(frozen=True, slots=True)
class Prompts:
    """What is embedded for a label set: each text in each sentence, made when it is needed.

    80 sentences for each of 867,455 species would be 69 million texts at once.
    """

    texts: Sequence[str]
    around: tuple[Frame, ...]

    def labels_at_once(self, batch: int) -> int:
        """Return the fewest labels whose prompts fill whole batches."""
        return batch // math.gcd(batch, len(self.around))

    def of(self, labels: slice) -> list[str]:
        """Return the prompts of some labels, label by label."""
        return framed(self.texts[labels], self.around)

    def mean(self, vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return unit rows [labels, dim] from the unit rows of their prompts, in order."""
        rows = np.concatenate(vectors)
        if len(self.around) == 1:
            return rows
        means = rows.reshape(-1, len(self.around), rows.shape[1]).mean(axis=1, dtype=np.float64)
        lengths = np.sqrt(np.einsum("ij,ij->i", means, means))[:, None]
        # Sentences that cancel out have no direction: such a row stays zero, and is refused.
        np.divide(means, lengths, out=means, where=lengths > 0)
        return np.asarray(means, np.float32)


def _append_rows(
    preparation: prepared_labels.Preparation,
    prompts: Prompts,
    embed: Embed,
    work: PrepareWork,
) -> None:
    """Embed from where the preparation stands to the end; whole rows are kept, however it ends."""
    pending: list[NDArray[np.float32]] = []

    def keep() -> None:
        if pending:
            block = np.concatenate(pending)
            pending.clear()
            preparation.append(block)

    kept_at = time.monotonic()
    batch = work.config.server.max_batch_size
    step = prompts.labels_at_once(batch)
    try:
        for at in range(preparation.done_rows, len(prompts.texts), step):
            some = prompts.of(slice(at, at + step))
            vectors = []
            for first in range(0, len(some), batch):
                work.stop.check()
                vectors.append(embed(some[first : first + batch]))
            pending.append(prompts.mean(vectors))
            work.progress.add(pending[-1].nbytes)
            if time.monotonic() - kept_at > APPEND_EVERY_S:
                keep()
                kept_at = time.monotonic()
    finally:
        keep()


def keep_codes(model: VerifiedModel, files: LabelSetFiles) -> None:
    """Write the search codes of a large label set, whose vectors are there by now."""
    labels = load_labels(files)
    path = files.embeddings or prepared_labels.prepared(model, files, labels)
    if path is None:
        return
    matrix = load_matrix(path, model.embedding_dim, len(labels))
    with rows_named(path, files, labels):
        encode_cached(matrix, CodeCache.of(model, files))
    log.info("search codes kept", label_set=files.name, rows=len(labels))
