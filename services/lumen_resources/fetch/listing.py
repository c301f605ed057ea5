"""What a cache holds, for `lumen resources list`: read from locks and model infos alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lumen_resources.errors import ResourceError, translated
from lumen_resources.model import lock_file
from lumen_resources.model.model_info import FILE_NAME, read

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
            if (known or (folder / ".lumen" / "incoming").is_dir()) and len(seen) < MAX_MODELS:
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
        name=info.name if info else folder.name,
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


def _unfinished(folder: Path) -> int:
    incoming = folder / ".lumen" / "incoming"
    return sum(p.stat().st_size for p in incoming.glob("*/*") if p.is_file())
