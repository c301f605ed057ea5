"""Where the cache keeps what label sets have from sources of their own, and who may ask for it."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from lumen_manifest.default_repositories import default_uri
from lumen_manifest.names import CLAIMS_DIR, SOURCE_DIR
from lumen_manifest.reading.doors import Door
from lumen_manifest.server_config import ServerConfig
from lumen_resources.errors import speaking
from lumen_resources.model.layouts import folder_name, model_folder
from lumen_resources.sources.open import folder_of
from lumen_resources.sources.protocol import SourceAccess

LABELS, LISTS = "labels", "names"
BESIDE_MODELS = (f"{LABELS}-", f"{LISTS}-")
"""How folders of the cache begin that hold something else than a model."""
# Schemes that have one host for all, or keys that are of an account and not of a bucket.
_HUBS = frozenset({"hf", "modelscope", "s3"})
_PIN = re.compile(r"(?:^|(?<= ))([^ =]+)=([0-9a-f]{40})(?= |$)")


@dataclass(frozen=True, slots=True)
class Places:
    """The cache, and where relative sources start."""

    cache: Path
    source: Path

    def of(self, kind: str, uri: str, revision: str = "") -> Path:
        """Return the folder in the cache of what is brought from a source; `kind` begins its name.

        Another source, and another revision that is asked for, has another.
        """
        parts = urlsplit(uri)
        last = parts.path.strip("/").rpartition("/")[2].partition("@")[0] or parts.netloc
        shown = re.sub(r"[^A-Za-z0-9._-]", "-", last)[:100]
        asked = f"{uri}@{revision}" if revision else uri
        mark = hashlib.sha256(asked.encode()).hexdigest()[:8]
        return model_folder(self.cache, folder_name(f"{kind}-{shown}@{mark}"))

    def in_place(self, uri: str, config: ServerConfig) -> Path | None:
        """Return where a source lies that is read in place, None for one that is fetched from.

        In a pod each claim has a mount; elsewhere there are no claims, and all begin at `source`.
        """
        claim, own = urlsplit(uri), urlsplit(config.model.source.uri or "")
        source = self.source
        if claim.scheme == "pvc" and source == Path(SOURCE_DIR):
            is_own = own.scheme == "pvc" and own.netloc == claim.netloc
            source = source if is_own else Path(CLAIMS_DIR) / claim.netloc
        return folder_of(uri, source)


def access_to(uri: str, config: ServerConfig, access: SourceAccess) -> SourceAccess:
    """Return with what another source than the model's is asked: the Secret is of the model's.

    Another hub or host gets none of it.
    """
    own, other = urlsplit(config.model.source.uri or default_uri(config.model) or ""), urlsplit(uri)
    same_host = own.scheme in _HUBS or own.netloc == other.netloc
    if own.scheme == other.scheme and same_host:
        return access
    return replace(access, token="", access_key_id="", secret_access_key="")


def pinned_commit(config: ServerConfig, name: str) -> str:
    """Return the commit that the first pod verified of what is called so, empty for none."""
    pins: dict[str, str] = dict(_PIN.findall(config.pinned_label_sets or ""))
    return pins.get(name, "")


@contextmanager
def speaking_of(field: str) -> Iterator[None]:
    """Let what a source refuses name this field instead of the model's source."""
    words = {
        "spec.model.source": field,
        "spec.model.source.secretRef": "spec.model.source.secretRef",
    }
    with speaking(Door(words)):
        yield
