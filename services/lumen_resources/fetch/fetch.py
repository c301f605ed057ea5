"""Brings a configured model's files here, verified, all or none; or opens what already is.

`fetch_and_verify` is for the init container and the command, `open_verified` for the server.
"""

import contextlib
from pathlib import Path

from lumen_manifest.server_config import ServerConfig
from lumen_resources.errors import (
    ChecksumMismatchError,
    FileMissingError,
    InvalidConfig,
    ResourceError,
)
from lumen_resources.fetch.describe import Apart
from lumen_resources.fetch.label_sources import fetch_label_sets, label_sets_here, set_sources
from lumen_resources.fetch.list_sources import fetch_lists, list_sources, lists_here
from lumen_resources.fetch.local_model import Cached, InPlace
from lumen_resources.fetch.places import Places, access_to, speaking_of
from lumen_resources.fetch.remote_model import PlaceTakenError, RemoteFetch
from lumen_resources.fetch.staging import FetchOptions
from lumen_resources.labels.name_lists import mounted_lists
from lumen_resources.labels.prepared_labels import adopt
from lumen_resources.model.layouts import VerifiedModel
from lumen_resources.progress import FetchPhase, Progress
from lumen_resources.sources.open import folder_of, open_source, remote_uri, source_uri
from lumen_resources.sources.protocol import SourceAccess

__all__ = ["FetchOptions", "check_sources", "fetch_and_verify", "open_verified", "verify_here"]


def fetch_and_verify(
    config: ServerConfig,
    cache_dir: Path,
    source_dir: Path,
    progress: Progress,
    options: FetchOptions | None = None,
) -> VerifiedModel:
    """Return the model, every file of it verified against its promised size and SHA-256.

    Files that are here and right are used without the network; what is missing is fetched into a
    side folder and moved into place when all of it is verified. Raises ResourceError.
    """
    model = _verified(config, cache_dir, source_dir, progress, options or FetchOptions())
    adopt(model)
    progress.begin(FetchPhase.DONE)
    return model


def _verified(
    config: ServerConfig,
    cache_dir: Path,
    source_dir: Path,
    progress: Progress,
    options: FetchOptions,
) -> VerifiedModel:
    places = _places(cache_dir, source_dir)
    apart = Apart(
        fetch_label_sets(config, places, progress, options),
        fetch_lists(config, places, progress, options),
    )
    local = _local(config, cache_dir, source_dir, apart)
    if isinstance(local, InPlace):
        return local.verify(progress)
    try:
        return _fetched(local, progress, options)
    except PlaceTakenError:
        # The folder that is chosen now has a name of its source, and so is nobody else's.
        return _fetched(Cached(config, cache_dir, local.uri, apart), progress, options)


def _fetched(local: Cached, progress: Progress, options: FetchOptions) -> VerifiedModel:
    """Return the model from its folder of the cache; fetch what is not there."""
    damage = None
    if not options.force:
        try:
            model = local.open(progress, thorough=True)
        except (ChecksumMismatchError, FileMissingError) as error:
            damage, model = error, None
        if model is not None:
            return model
    try:
        remote = open_source(remote_uri(local.config), options.access)
    except ResourceError:
        if damage is not None:
            raise damage from None
        raise
    with contextlib.closing(remote):
        return RemoteFetch(local, remote, progress, options).run()


def check_sources(config: ServerConfig, source_dir: Path, access: SourceAccess) -> str:
    """Return where the model comes from; nothing is asked of it yet, or of any other source.

    Raises InvalidConfig for an address that cannot be fetched from, the model's, a label set's or
    a list's.
    """
    uri = source_uri(config)
    if folder_of(uri, source_dir) is None:
        uri = remote_uri(config)
        open_source(uri, access).close()
    places = Places(Path(), source_dir)
    mounted_lists(config, source_dir)
    for field, source in (*set_sources(config), *list_sources(config)):
        with speaking_of(field):
            if places.in_place(source, config) is None:
                open_source(source, access_to(source, config, access)).close()
    return uri


def open_verified(config: ServerConfig, cache_dir: Path, source_dir: Path) -> VerifiedModel:
    """Return the model as an earlier `fetch_and_verify` left it; nothing is fetched or written.

    Files that changed since are read and compared again. Raises ResourceError.
    """
    apart = _apart_here(config, _places(cache_dir, source_dir), Progress(), thorough=False)
    return _local(config, cache_dir, source_dir, apart).reopen()


def verify_here(
    config: ServerConfig, cache_dir: Path, source_dir: Path, progress: Progress
) -> VerifiedModel:
    """Read and compare every file that is here, as `fetch_and_verify` would, without the network.

    Raises ResourceError; ResourceNotFoundError when nothing was fetched yet.
    """
    apart = _apart_here(config, _places(cache_dir, source_dir), progress, thorough=True)
    local = _local(config, cache_dir, source_dir, apart)
    if isinstance(local, Cached):
        return local.verify(progress)
    model = local.verify(progress)
    adopt(model)
    return model


def _apart_here(
    config: ServerConfig, places: Places, progress: Progress, *, thorough: bool
) -> Apart:
    """Return what label sets have from elsewhere, as an earlier fetch left it."""
    sets = label_sets_here(config, places, progress, thorough=thorough)
    return Apart(sets, lists_here(config, places))


def _local(
    config: ServerConfig, cache_dir: Path, source_dir: Path, apart: Apart
) -> InPlace | Cached:
    uri = source_uri(config)
    root = folder_of(uri, source_dir)
    if root is None:
        return Cached(config, cache_dir, uri, apart)
    _refuse_undecodable(root)
    return InPlace(config, cache_dir, root, apart)


def _places(cache_dir: Path, source_dir: Path) -> Places:
    _refuse_undecodable(cache_dir)
    return Places(cache_dir, source_dir)


def _refuse_undecodable(folder: Path) -> None:
    """Refuse a name that cannot be told to the libraries that open a model's files."""
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError:
        raise InvalidConfig(
            f"The path {folder} is not UTF-8, and ONNX Runtime opens no file below it.",
            remedy="Rename the folder.",
        ) from None
