"""The golden set a model is compared with: its own, else the one that Lumen recorded of it.

A recorded set is of the very files and rules that its vectors were computed with: when one of them
is another, it is not compared. Beside the lock it lies among what Lumen writes itself, and what is
damaged there is as good as absent: whoever records looks again.
"""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from lumen_manifest.reading.regular_files import read_bounded
from lumen_resources.arrays import UnreadableArrayError, map_npy
from lumen_resources.errors import ResourceError, ResourceValidationError, translated
from lumen_resources.model import lock_file
from lumen_resources.model.choice import DECISIVE
from lumen_resources.model.layouts import Parity, ParityInput, Preprocess, TextRule, VerifiedModel
from lumen_resources.model.lock_file import bytes_digest, canonical_json, digest_of, write_durably
from lumen_resources.model.model_info import FileDigest, ParityInfo, ReferenceInfo, RelativePath
from lumen_terms.modality import Modality

OF_ANOTHER_SPACE = (
    "the golden set holds vectors of pictures prepared as the model's own files say: under another "
    "preset it is not compared"
)
OF_OTHER_FILES = (
    "the golden set was recorded of other weights or rules than these, and is not compared: "
    "`lumen resources verify --write FOLDER` records one anew"
)
VECTORS = "parity/vectors.npy"
_FOLDER = Path(".lumen") / "golden"
_CONTENT = "golden.json"
_MAX_BYTES = 1024 * 1024
_MOST_KEPT = 32

Rules = Mapping[Modality, str]


class _Kept(BaseModel):
    """Content of golden.json, which lies beside the lock with the files that it names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parity: ParityInfo
    files: dict[RelativePath, FileDigest]


def rules_of(
    picture: Preprocess, text: TextRule, dim: int, modalities: Iterable[Modality]
) -> dict[Modality, str]:
    """Return SHA-256 of how the items of each modality become vectors of `dim` numbers."""
    said: dict[Modality, Any] = {Modality.IMAGE: picture, Modality.TEXT: text}
    return {each: _sha256({"dim": dim, **_unusual(said[each])}) for each in modalities}


def _sha256(value: Any) -> str:
    return hashlib.sha256(canonical_json(value)).hexdigest()


def _unusual(rule: Any) -> dict[str, Any]:
    """Return the fields that differ from their defaults: a new field leaves older digests."""
    values = {field: getattr(rule, field.name) for field in dataclasses.fields(rule)}
    return {field.name: value for field, value in values.items() if value != field.default}


def golden_set_of(
    own: ParityInfo | None, root: Path, known: Mapping[str, FileDigest], rules: Rules
) -> tuple[Parity | None, tuple[str, ...]]:
    """Return the set that the model info names in `root`, and what is to be said of it."""
    if own is None:
        return None, ()
    if own.reference is not None and not _is_of(own.reference, known, rules):
        return None, (OF_OTHER_FILES,)
    return _under(root, own), ()


def kept_golden_set(cache: Path, known: Mapping[str, FileDigest], rules: Rules) -> Parity | None:
    """Return the set that was recorded beside the lock in `cache`, if one is of these files."""
    places = sorted((cache / _FOLDER).glob(f"*/{_CONTENT}"))[:_MOST_KEPT]
    if not places:
        return None
    with contextlib.suppress(ResourceError):
        known = {**_locked(cache), **known}
    found = (_kept(place, known, rules) for place in places)
    return next((parity for parity in found if parity is not None), None)


def _kept(place: Path, known: Mapping[str, FileDigest], rules: Rules) -> Parity | None:
    try:
        kept = _Kept.model_validate_json(read_bounded(place, _MAX_BYTES))
        named = {kept.parity.vectors, *(i.image for i in kept.parity.inputs if i.image)}
        if any(digest_of(place.parent / path) != kept.files.get(path) for path in named):
            return None
    except (OSError, ValidationError, ResourceError):
        return None
    reference = kept.parity.reference
    if reference is None or not _is_of(reference, known, rules):
        return None
    return _under(place.parent, kept.parity)


def keep_golden_set(model: VerifiedModel, parity: ParityInfo, files: Mapping[str, bytes]) -> Path:
    """Write a recorded set beside the model's lock; raises OSError where nothing may be written."""
    folder = model.cache / _FOLDER / _key(rules_of_model(model))
    digests = {path: bytes_digest(content) for path, content in files.items()}
    content = _Kept(parity=parity, files=digests).model_dump_json(exclude_none=True).encode()
    # What names the others comes last: until then they are another set's, or nobody's.
    for path, data in (*files.items(), (_CONTENT, content)):
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}.new")
        write_durably(temporary, data)
        temporary.replace(place)
    return folder


def rules_of_model(model: VerifiedModel) -> dict[Modality, str]:
    """Return the rules by which a verified model is judged."""
    return rules_of(model.preprocess, model.text, model.embedding_dim, model.modalities)


def reference_of(model: VerifiedModel, by: str) -> ReferenceInfo:
    """Return of what a set is that `by` computed with this model's files."""
    of = model.files
    weights = {of.vision, of.text, of.weights, *of.external_data, *of.shards}
    files = {
        path.relative_to(model.root).as_posix(): proof.sha256
        for path, proof in model.proofs.items()
        if path in weights or path.name in DECISIVE
    }
    return ReferenceInfo(by=by, files=files, rules=rules_of_model(model))


def check_vectors(path: Path, expected: tuple[int, int]) -> None:
    """Raise ResourceValidationError unless `path` holds unit rows, float32 [inputs, dim]."""
    try:
        with translated(path, "reading"):
            vectors = map_npy(path)
        fits = vectors.shape == expected and vectors.dtype == np.float32
        found = f"{vectors.dtype} {vectors.shape}"
        if fits and not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3):
            fits, found = False, "rows that are not unit length"
    except UnreadableArrayError as error:
        fits, found = False, f"no array: {error}"
    if not fits:
        raise ResourceValidationError(
            f"{path.name} (the parity set) has {found}; float32 {expected}, unit rows, "
            "is expected.",
            remedy="Write the parity set anew, or remove `parity` from the model info.",
            file=path.name,
        )


def _is_of(reference: ReferenceInfo, known: Mapping[str, FileDigest], rules: Rules) -> bool:
    same = all(path in known and known[path].sha256 == d for path, d in reference.files.items())
    return same and rules.items() <= reference.rules.items()


def _under(folder: Path, parity: ParityInfo) -> Parity:
    inputs = tuple(
        ParityInput(image=None if i.image is None else folder / i.image, text=i.text)
        for i in parity.inputs
    )
    by = parity.reference.by if parity.reference else ""
    return Parity(inputs, folder / parity.vectors, by)


def _key(rules: Rules) -> str:
    """Services of one model may prepare its pictures in several ways."""
    return _sha256(dict(rules))[:16]


def _locked(cache: Path) -> dict[str, FileDigest]:
    """Return what others verified of the same revision, for another runtime."""
    lock = lock_file.read(cache)
    return {} if lock is None else lock.digests()
