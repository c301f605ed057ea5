"""A model in a bucket: model_info.json beside the objects it vouches for.

An object's ETag says nothing certain of it (uploads in parts have another): only the model
info proves the files. Keys, region and address are told by a Secret or by AWS's usual variables;
where there are no keys at all, requests are not signed, as public buckets want it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore import exceptions
from obstore.store import S3Store

from lumen_manifest.reading.doors import secret_or
from lumen_resources.errors import (
    FileMissingError,
    InvalidConfig,
    ResourceError,
    ResourceNotFoundError,
    UnauthorizedError,
)
from lumen_resources.model.model_info import FILE_NAME, MAX_BYTES
from lumen_resources.sources.folders import snapshot_of
from lumen_resources.sources.promises import FilePromise
from lumen_resources.sources.protocol import (
    DOCUMENT_S,
    Part,
    RangeRefusedError,
    SourceAccess,
    SourceSnapshot,
    TransientError,
)

if TYPE_CHECKING:
    from obstore import GetResult

BLOCK_BYTES = 1024 * 1024
# A file of any size may take as long as it takes, if only bytes keep coming.
LONGEST = timedelta(days=7)
# By which variables AWS's tools are told who asks; EC2's metadata is never asked.
_WHO = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_KEYS = {
    "AWS_ACCESS_KEY_ID": "access_key_id",
    "AWS_SECRET_ACCESS_KEY": "secret_access_key",
    "AWS_SESSION_TOKEN": "session_token",
}
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
USUAL_REGION = "us-east-1"
_WHERE = secret_or(
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "access-key-id", "secret-access-key"
)


class S3Source:
    """A bucket and a prefix; the objects' names are the prefix followed by their relative paths."""

    keeps_history = False

    def __init__(self, uri: str, access: SourceAccess) -> None:
        self.uri = uri
        parts = urlsplit(uri)
        self._prefix = unquote(parts.path).strip("/")
        if not parts.netloc or "@" in parts.netloc or parts.query or parts.fragment:
            raise InvalidConfig(
                f"spec.model.source.uri: s3://{parts.hostname or ''}{parts.path} must name a "
                "bucket and a prefix, nothing else.",
                remedy=f"Write s3://bucket/prefix; keys belong into {_WHERE}.",
            )
        self._has_keys = bool(access.access_key_id) or _first(access.variables, _WHO) != ""
        self._store, self._documents = (
            _store(parts.netloc, access, signed=self._has_keys, within=within)
            for within in (LONGEST, timedelta(seconds=DOCUMENT_S))
        )

    def snapshot(self, revision: str) -> SourceSnapshot:
        """Fetch model_info.json; its SHA-256, as long as a commit, is the revision."""
        content = self.document(FILE_NAME, MAX_BYTES)
        return snapshot_of(content, revision, self.uri, f"{self.uri}/{FILE_NAME}")

    def at_hand(self, path: str, promise: FilePromise) -> Path | None:
        """Return None: nothing else on this machine keeps files of buckets."""
        del path, promise
        return None  # absence is the answer

    def document(self, path: str, most_bytes: int) -> bytes:
        """Fetch a small object as a whole."""
        content = bytearray()
        with self._translated(path):
            for block in _blocks(obstore.get(self._documents, self._name(path))):
                content += block
                if len(content) > most_bytes:
                    break
        return bytes(content[: most_bytes + 1])

    @contextmanager
    def read(self, path: str, offset: int, validator: str) -> Iterator[Part]:
        """Ask for an object from `offset` on, provided that it is still the one of `validator`."""
        options: dict[str, Any] = {}
        if offset:
            options["range"] = {"offset": offset}
            if validator:
                options["if_match"] = validator
        with self._translated(path):
            found = obstore.get(self._store, self._name(path), options=options or None)  # type: ignore[arg-type]
            yield Part(
                found.range[0], found.meta["size"], found.meta["e_tag"] or "", _blocks(found)
            )

    def close(self) -> None:
        """Nothing is held that closing would release."""

    def _name(self, path: str) -> str:
        return f"{self._prefix}/{path}" if self._prefix else path

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        place = f"{self.uri.rstrip('/')}/{path}"
        try:
            yield
        except (FileNotFoundError, exceptions.NotFoundError) as error:
            raise _absent(place, path) from error
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise self._unauthorized(place) from error
        except exceptions.PreconditionError as error:
            raise RangeRefusedError(
                f"{place} was replaced meanwhile.", remedy="Start again."
            ) from error
        except exceptions.BaseError as error:
            if "416" in str(error) or "InvalidRange" in str(error):
                raise RangeRefusedError(
                    f"{place} has no such range.", remedy="Start again."
                ) from error
            raise TransientError(
                f"{place} cannot be read: {_cause(error)}.",
                remedy="Check AWS_ENDPOINT_URL, AWS_REGION, and the network and proxy on the way. "
                "What was fetched is kept.",
            ) from error

    def _unauthorized(self, place: str) -> ResourceError:
        had = "refuses the keys" if self._has_keys else "is not public"
        return UnauthorizedError(
            f"{place} {had}.",
            remedy=f"Put keys that may read it into {_WHERE}.",
        )


def _store(bucket: str, access: SourceAccess, *, signed: bool, within: timedelta) -> S3Store:
    variables = access.variables
    endpoint = _first(variables, _ENDPOINTS)
    config: dict[str, Any] = {
        "region": _first(variables, _REGIONS) or USUAL_REGION,
        "skip_signature": not signed,
        # Other stores than Amazon's seldom have a host name for each bucket.
        "virtual_hosted_style_request": not endpoint,
    }
    if endpoint:
        config["endpoint"] = endpoint
    if access.access_key_id:
        config["access_key_id"] = access.access_key_id
        config["secret_access_key"] = access.secret_access_key
    elif variables.get("AWS_ACCESS_KEY_ID"):
        config |= {key: variables[name] for name, key in _KEYS.items() if variables.get(name)}
    return S3Store(
        bucket,
        config=config,  # type: ignore[arg-type]
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=access.connect_s),
            "read_timeout": timedelta(seconds=access.read_s),
            "timeout": within,
            "user_agent": "lumen-resources",
        },
        # It is asked again by whoever counts the bytes.
        retry_config={"max_retries": 0},
    )


def _blocks(found: "GetResult") -> Iterator[bytes]:
    for block in found.stream(min_chunk_size=BLOCK_BYTES):
        yield bytes(block)


def _first(variables: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((variables[name] for name in names if variables.get(name)), "")


def _cause(error: Exception) -> str:
    """Return the first line of what the library says; below it come its own source positions."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300].rstrip(".")


def _absent(place: str, path: str) -> ResourceError:
    if path == FILE_NAME:
        return ResourceNotFoundError(
            f"{place} does not exist.",
            remedy="Check spec.model.source.uri: it must be the prefix under which "
            "model_info.json lies.",
            file=path,
        )
    return FileMissingError(
        f"{place} does not exist.",
        remedy="Check spec.model.source.uri; if model_info.json names this object, its owner must "
        "put it there.",
        file=path,
    )
