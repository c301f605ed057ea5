"""Where a service's files come from, read from its URIs. Pure; nothing is asked."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from lumen_manifest.default_repositories import OWNERS, default_uri
from lumen_manifest.model_service import ModelServiceSpec

IN_PLACE = frozenset({"pvc", "file"})
"""Schemes whose files are read where they are: nothing is fetched."""

_PORTS = {"http": 80}


@dataclass(frozen=True, slots=True)
class SourceUri:
    """A source's parts: hf://owner/name has host owner and path name; pvc://claim/path likewise."""

    scheme: str
    host: str
    path: str
    port: int | None = None

    @classmethod
    def parse(cls, uri: str) -> "SourceUri":
        """Split a URI that the manifest's pattern let pass."""
        parts = urlsplit(uri)
        try:
            port = parts.port
        except ValueError:  # "a:b" where a port would be; the source itself will refuse it
            port = None
        return cls(parts.scheme, parts.hostname or "", parts.path.strip("/"), port)

    @property
    def fetch_port(self) -> int | None:
        """The TCP port that fetching connects to; None when nothing is fetched."""
        if self.scheme in IN_PLACE:
            return None
        is_url = self.scheme in {"http", "https"}
        return (self.port if is_url else None) or _PORTS.get(self.scheme, 443)


def model_uri(spec: ModelServiceSpec) -> str:
    """Give the model's source; the region's hub when the manifest names none."""
    source = spec.model.source
    return source.uri or default_uri(spec.model) or f"{OWNERS[source.region]}/{spec.model.name}"


def all_sources(spec: ModelServiceSpec) -> Iterator[SourceUri]:
    """Yield the model's source, then those of label sets and of lists that have their own."""
    yield SourceUri.parse(model_uri(spec))
    for label_set in spec.label_sets:
        if label_set.source is not None:
            yield SourceUri.parse(label_set.source.uri)
        for said in label_set.name_lists.values():
            if said.uri is not None:
                yield SourceUri.parse(said.uri)


def further_claims(spec: ModelServiceSpec) -> tuple[str, ...]:
    """Name the claims, besides the model's own, that hold label sets or lists."""
    claims = {source.host for source in all_sources(spec) if source.scheme == "pvc"}
    return tuple(sorted(claims - {source_claim(spec)}))


def source_claim(spec: ModelServiceSpec) -> str | None:
    """Name the claim that holds the model; None when it is not on a volume."""
    source = SourceUri.parse(model_uri(spec))
    return source.host if source.scheme == "pvc" else None
