"""Label vectors that the older server computed and kept under `data/`: taken over where provable.

`data/{clip,bioclip}/{runtime}/{model_id}/text_vectors.npz` holds `vecs`, beside it
`text_vectors.meta.json` says for which labels. Its `names` are pickled Python objects: they are
never read, so only a cache whose meta has the labels' hash can be taken over.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lumen_manifest.reading.regular_files import read_bounded
from lumen_resources.errors import ResourceError
from lumen_resources.json_text import parse_json
from lumen_resources.labels.label_sets import Labels, load_labels, npz_member
from lumen_resources.labels.prepared_labels import begin, prepared
from lumen_resources.model.layouts import LabelSetFiles, VerifiedModel

VECTORS, META = "text_vectors.npz", "text_vectors.meta.json"
# The one sentence the older server knew.
TEMPLATE = "a photo of a {}"
MAX_META_BYTES = 64 * 1024


def adopt(model: VerifiedModel) -> None:
    """Take over vectors for every label set that ships none and has none computed."""
    for files in model.label_sets:
        if files.embeddings is None and files.template == TEMPLATE:
            labels = load_labels(files)
            if labels.lineages is None and prepared(model, files, labels) is None:
                _adopt(model, files, labels)


def _adopt(model: VerifiedModel, files: LabelSetFiles, labels: Labels) -> None:
    wanted = (labels_hash(labels), model.embedding_dim, model.name.replace("::", "_"))
    for folder in _folders(model.cache):
        meta = _meta(folder / META)
        if (meta.get("labels_hash"), meta.get("embed_dim"), meta.get("model_id")) != wanted:
            continue
        try:
            vectors = npz_member(folder / VECTORS, ("vecs",))
        except ResourceError:
            # A damaged cache is no cache: the vectors are computed.
            continue
        lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
        whole = vectors.shape == (len(labels), model.embedding_dim) and bool(np.all(lengths > 1e-6))
        if whole and np.isfinite(vectors).all():
            with begin(model, files, labels) as preparation:
                preparation.append((vectors / lengths)[preparation.done_rows :].astype(np.float32))
                preparation.commit()
            return


def labels_hash(labels: Labels) -> str:
    """Return the hash as the older server made it: over the JSON list of names."""
    text = json.dumps(labels.names, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _folders(model_cache: Path) -> Iterator[Path]:
    """Yield the older server's folders beside the cache, or beside its `models`."""
    for base in (model_cache.parent, model_cache.parent.parent):
        for family in ("clip", "bioclip"):
            yield from sorted(p.parent for p in (base / "data" / family).glob(f"*/*/{META}"))


def _meta(path: Path) -> dict[str, Any]:
    try:
        document = parse_json(read_bounded(path, MAX_META_BYTES))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
