"""What a cache holds, for `lumen resources list`: read from locks and model infos alone."""

import contextlib
import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lumen_manifest.spec.enums import Precision, Runtime
from lumen_resources.errors import ResourceError, translated
from lumen_resources.fetch.places import BESIDE_MODELS
from lumen_resources.fetch.plan import DEFAULT_TARGET
from lumen_resources.model import lock_file
from lumen_resources.model.choice import ComputeChoice, choose
from lumen_resources.model.layouts import model_folder
from lumen_resources.model.model_info import FILE_NAME, ModelInfo, read

MAX_MODELS = 10_000


@dataclass(frozen=True, slots=True)
class Listed:
    """One model's folder; `problem` says why it could not be read."""

    folder: Path
    name: str
    version: str
    runtimes: tuple[str, ...]
    label_sets: tuple[str, ...]
    license: str
    revision: str
    source: str
    files: int
    bytes: int
    unfinished_bytes: int
    problem: str


def list_cache(cache_dir: Path) -> Iterator[Listed]:
    """Yield every model's folder of a cache, by name."""
    folders = [cache_dir / "models", cache_dir]
    seen: set[str] = set()
    for parent in folders:
        for folder in sorted(parent.iterdir()) if parent.is_dir() else []:
            known = (folder / FILE_NAME).is_file() or (folder / lock_file.FILE_NAME).is_file()
            # A fetch that was refused at once leaves a folder with nothing in it.
            if (known or _unfinished(folder)) and len(seen) < MAX_MODELS:
                seen.add(folder.name)
                yield look_at(folder)


def look_at(folder: Path) -> Listed:
    """Return what lock and model info of a folder say."""
    problem, lock, info = "", None, None
    try:
        lock = lock_file.read(folder)
        place = Path(lock.root) if lock and lock.root else folder
        with translated(place, "looking at"):
            has_info = (place / FILE_NAME).exists()
        info = read(place / FILE_NAME)[0] if has_info else None
    except ResourceError as error:
        problem = error.message
    if not problem and lock is None:
        problem = "not verified yet"
    return Listed(
        folder=folder,
        name=_name(folder, lock.source if lock else ""),
        version=info.version if info else "",
        runtimes=info.offered() if info else (),
        label_sets=tuple(info.datasets) if info else (),
        license=info.license if info else "",
        revision=lock.revision if lock else "",
        source=lock.source if lock else "",
        files=len(lock.files) if lock else 0,
        bytes=sum(file.size for file in lock.files.values()) if lock else 0,
        unfinished_bytes=_unfinished(folder),
        problem=problem,
    )


def _name(folder: Path, source: str) -> str:
    """Return the name that was asked for; of label sets and lists that is their source."""
    plain, at, _ = folder.name.partition("@")
    if at and plain.startswith(BESIDE_MODELS):
        return source or folder.name
    return lock_file.read_name(folder) or plain


@dataclass(frozen=True, slots=True)
class Here:
    """What a cache has of a model: enough to ask for it again."""

    runtime: Runtime
    precision: Precision
    uri: str
    revision: str


def what_is_here(
    cache_dir: Path,
    name: str,
    uri: str,
    runtimes: Sequence[Runtime],
    precisions: Sequence[Precision],
) -> Here | None:
    """Return for which of these runtimes and precisions a cache has a model's verified files.

    The first that it has; of the source `uri` when one is named. None when there is nothing.
    """
    place = model_folder(cache_dir, name)
    for folder in (place, *sorted(place.parent.glob(f"{place.name}@*"))):
        with contextlib.suppress(ResourceError):
            lock = lock_file.read(folder)
            if lock is None or uri not in {"", lock.source}:
                continue
            root = Path(lock.root) if lock.root else folder
            source = root.as_uri() if lock.root else lock.source
            info, files = read(root / FILE_NAME)[0], set(lock.files)
            for runtime, precision in itertools.product(runtimes, precisions):
                if _is_covered(info, runtime, precision, files):
                    return Here(runtime, precision, source, lock.asked)
    return None


def _is_covered(
    info: ModelInfo, runtime: Runtime, precision: Precision, files: Collection[str]
) -> bool:
    if runtime is Runtime.RKNN and precision not in {Precision.FP16, Precision.INT8}:
        return False
    how = ComputeChoice(runtime, precision, DEFAULT_TARGET)
    with contextlib.suppress(ResourceError):
        return set(choose(files, info, how).all_files()) <= set(files)
    return False


def _unfinished(folder: Path) -> int:
    incoming = folder / ".lumen" / "incoming"
    return sum(p.stat().st_size for p in incoming.glob("*/*") if p.is_file())
