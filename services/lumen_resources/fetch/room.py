"""Whether files have room in the cache, known before the first byte of them is fetched."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lumen_resources.errors import MORE_ROOM, DiskFullError

# Room for the lock, the lease and model_info.json beside the files.
SLACK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class CacheRoom:
    """A cache and the most it may grow to: a pod beyond that is evicted, with all that it has.

    Without a limit only the disk's free space counts.
    """

    root: Path | None = None
    limit_bytes: int = 0

    def refuse_more(self, folder: Path, missing_bytes: int) -> None:
        """Raise DiskFullError unless so many bytes more have room where `folder` is."""
        if missing_bytes <= 0:
            return
        needed = missing_bytes + SLACK_BYTES
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise DiskFullError(
                f"{folder} has {free:,} bytes free; {needed:,} are needed.",
                remedy=f"{MORE_ROOM}, then start again; what was fetched is kept.",
                file=str(folder),
            )
        if self.root is None or not self.limit_bytes:
            return
        used = sum(_sizes(self.root))
        if used + needed > self.limit_bytes:
            raise DiskFullError(
                f"The cache may have {self.limit_bytes:,} bytes (spec.cache.sizeLimit) and has "
                f"{used:,}; {needed:,} more are needed.",
                remedy=f"Set spec.cache.sizeLimit to at least {used + needed:,}, and leave room "
                "for what is computed from the files.",
                file=str(folder),
            )


def _sizes(root: Path) -> Iterator[int]:
    for parent, _, names in os.walk(root):
        for name in names:
            try:
                yield os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118 - half the time
            except OSError:
                continue
