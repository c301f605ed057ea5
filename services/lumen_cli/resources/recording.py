"""What `lumen resources verify --write FOLDER` writes into a folder: digests, and a golden set."""

from collections.abc import Mapping
from pathlib import Path

from lumen_cli.speech import say
from lumen_resources.errors import ResourceError
from lumen_resources.model.model_info import FILE_NAME, FileDigest, read
from lumen_resources.progress import Progress


def record_folder(folder: Path, progress: Progress, golden: bool) -> Mapping[str, FileDigest]:
    """Record digests, then a golden set if it is wanted and a runtime here computes the model.

    What keeps the set from being made is said; the digests are recorded all the same. Raises
    ResourceError when they cannot be.
    """
    from lumen_resources.fetch.recording import record

    recording = record(folder, progress)
    say(*recording.derived)
    if not golden:
        return recording.digests
    said = _golden_set(folder, progress)
    say(*said)
    info, _ = read(folder / FILE_NAME)
    return info.digests()


def _golden_set(folder: Path, progress: Progress) -> tuple[str, ...]:
    """Record one, and return what is to be said of it."""
    try:
        # Loads numpy and the decoders, which not every installation has.
        from lumen_serving.errors import StartError
        from lumen_serving.startup.reference_folder import record_in_folder
    except ModuleNotFoundError as error:
        return (
            f"No golden set was recorded: the Python package '{error.name}' is not installed here.",
        )
    try:
        by = record_in_folder(folder, progress)
    except (ResourceError, StartError) as error:
        return (f"No golden set was recorded: {error.message}", error.remedy)
    return (f"A golden set was recorded: the vectors of {by}.",) if by else ()
