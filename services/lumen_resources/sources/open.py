"""From a URI to a source: which schemes work, and how their paths are read."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lumen_manifest.server_config import ServerConfig
from lumen_resources.errors import InvalidConfig, UnsupportedSourceError
from lumen_resources.sources.protocol import RemoteSource, SourceAccess

WORKING = "file://, pvc://, https:// and http://"
LATER = ("hf", "modelscope", "s3")


def source_uri(config: ServerConfig) -> str:
    """Return the URI that the manifest names, or '' when the default hub is meant."""
    return config.model.source.uri or ""


def folder_of(uri: str, source_dir: Path) -> Path | None:
    """Return the folder of a source that is read in place, None for one that is fetched from.

    Raises InvalidConfig for a malformed URI.
    """
    path_of = _IN_PLACE.get(urlsplit(uri).scheme)
    return None if path_of is None else path_of(uri, source_dir)


def open_source(uri: str, access: SourceAccess) -> RemoteSource:
    """Return the source that is fetched from, without asking it anything yet.

    Raises InvalidConfig for a malformed URI, UnsupportedSourceError for a scheme without a source.
    """
    if not uri:
        raise UnsupportedSourceError(
            "spec.model.source.uri is empty, which means the default hub; fetching from hubs is "
            "not available in this version.",
            remedy=f"Name a source of your own in spec.model.source.uri: {WORKING} work.",
        )
    scheme = urlsplit(uri).scheme
    if scheme in {"https", "http"}:
        # httpx takes longer to import than a folder takes to verify.
        from lumen_resources.sources.http import HttpSource  # noqa: PLC0415

        return HttpSource(uri, access)
    known = (
        f"{scheme}:// is not available in this version"
        if scheme in LATER
        else f"{_shown(uri)!r} names no known kind of source"
    )
    raise UnsupportedSourceError(
        f"spec.model.source.uri: {known}.", remedy=f"Use one of those that work: {WORKING}."
    )


def _shown(uri: str) -> str:
    """Return a URI without what stands before an @ in it, which may be a password."""
    return re.sub(r"//[^/]*@", "//", uri)


def _file_path(uri: str, source_dir: Path) -> Path:
    """file:///absolute, or relative to the manifest: file://./folder, file://../folder."""
    rest = unquote(uri.removeprefix("file://"))
    if rest.startswith("localhost/"):
        rest = rest.removeprefix("localhost")
    if rest.startswith("/"):
        return Path(rest)
    if not rest or rest.startswith("~"):
        raise InvalidConfig(
            f"spec.model.source.uri: {uri!r} names no folder.",
            remedy="Write file:///absolute/folder, or file://./folder for one beside the manifest.",
        )
    return source_dir / rest


def _claim_path(uri: str, source_dir: Path) -> Path:
    """pvc://claim/path: the claim is mounted at `source_dir`."""
    parts = urlsplit(uri)
    path = unquote(parts.path).strip("/")
    if not parts.netloc or ".." in path.split("/"):
        raise InvalidConfig(
            f"spec.model.source.uri: {uri!r} must name a claim and a path inside it.",
            remedy="Write pvc://claim-name/path/of/the/model, without '..'.",
        )
    return source_dir / path


# By scheme: where the folder lies that is read in place.
_IN_PLACE = {"file": _file_path, "pvc": _claim_path}
