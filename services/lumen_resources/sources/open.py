"""From a URI to a source: which schemes work, and how their paths are read."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lumen_manifest.default_repositories import default_uri
from lumen_manifest.server_config import ServerConfig
from lumen_resources.errors import InvalidConfig, UnsupportedSourceError
from lumen_resources.sources.protocol import RemoteSource, SourceAccess

WORKING = "hf://, modelscope://, s3://, https://, http://, file:// and pvc://"


def source_uri(config: ServerConfig) -> str:
    """Return the URI that the manifest names, or '' when the default hub is meant."""
    return config.model.source.uri or ""


def remote_uri(config: ServerConfig) -> str:
    """Return the URI to fetch from: the manifest's, else of the repository the name stands for.

    Raises InvalidConfig for a name that stands for none.
    """
    spec = config.model
    uri = spec.source.uri or default_uri(spec)
    if uri is None:
        raise InvalidConfig(
            f"spec.model.name: {spec.name} stands for no repository that is known for region "
            f"{spec.source.region}.",
            remedy="Name its repository or folder in spec.model.source.uri, such as "
            f"hf://owner/{spec.name.replace('::', '-')}.",
        )
    return uri


def folder_of(uri: str, source_dir: Path) -> Path | None:
    """Return the folder of a source that is read in place, None for one that is fetched from.

    Relative folders, and a claim's, start at `source_dir`. Raises InvalidConfig for a malformed
    URI.
    """
    path_of = _IN_PLACE.get(urlsplit(uri).scheme)
    return None if path_of is None else path_of(uri, source_dir)


def open_source(uri: str, access: SourceAccess) -> RemoteSource:
    """Return the source that is fetched from, without asking it anything yet.

    Raises InvalidConfig for a malformed URI, UnsupportedSourceError for a scheme without a source.
    """
    opened = _REMOTE.get(urlsplit(uri).scheme)
    if opened is None:
        raise UnsupportedSourceError(
            f"spec.model.source.uri: {_shown(uri)!r} names no known kind of source.",
            remedy=f"Use one of those that work: {WORKING}.",
        )
    return opened(uri, access)


# Each library takes longer to import than a folder takes to verify: only the one in use is.


def _http(uri: str, access: SourceAccess) -> RemoteSource:
    from lumen_resources.sources.http import HttpSource  # noqa: PLC0415

    return HttpSource(uri, access)


def _hugging_face(uri: str, access: SourceAccess) -> RemoteSource:
    from lumen_resources.sources.hugging_face import HuggingFaceSource  # noqa: PLC0415

    return HuggingFaceSource(uri, access)


def _modelscope(uri: str, access: SourceAccess) -> RemoteSource:
    from lumen_resources.sources.modelscope import ModelScopeSource  # noqa: PLC0415

    return ModelScopeSource(uri, access)


def _s3(uri: str, access: SourceAccess) -> RemoteSource:
    from lumen_resources.sources.s3 import S3Source  # noqa: PLC0415

    return S3Source(uri, access)


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
# By scheme: how a source that is fetched from is opened.
_REMOTE = {
    "http": _http,
    "https": _http,
    "hf": _hugging_face,
    "modelscope": _modelscope,
    "s3": _s3,
}
