"""A repository as it is looked at before anything large of it is fetched. Pure but for `read`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lumen_manifest.spec.enums import Tower
from lumen_resources.errors import ModelInfoError
from lumen_resources.json_text import parse_json

MAX_CONFIG_BYTES = 16 * 1024 * 1024
MAX_TOKENIZER_BYTES = 64 * 1024 * 1024
MAX_README_BYTES = 1024 * 1024

# What a README's front matter may say of terms, one of them a line, or a list of one line more.
_FRONT_MATTER = re.compile(r"---\r?\n(.*?)\r?\n---\s", re.DOTALL)
_LICENCE = re.compile(
    r"^(license|license_name):[ \t]*(?:\n[ \t]*-[ \t]*)?(\S[^\n]*)$", re.MULTILINE
)
_TERMS = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,99}")


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository's listing, sizes in bytes by path, and a way to its small files.

    `name` is owner/name where it has one, `called` what the manifest calls the model; `read` gives
    a file's verified bytes. `towers` are those that there are weights or graphs of.
    """

    name: str
    called: str
    files: Mapping[str, int]
    read: Callable[[str], bytes]
    towers: frozenset[Tower] = frozenset(Tower)

    @property
    def is_bioclip(self) -> bool:
        """Whether it is of the family whose labels are taxa; only names tell."""
        return any("bioclip" in name.casefold() for name in (self.name, self.called))

    def first(self, *paths: str) -> str | None:
        """Return the first of these that is there."""
        return next((path for path in paths if path in self.files), None)

    def document(self, path: str | None, most: int = MAX_CONFIG_BYTES) -> Mapping[str, Any]:
        """Return a JSON object, empty for a file that is not there; raises ModelInfoError."""
        if path is None:
            return {}
        try:
            found = parse_json(self.content(path, most))
        except ValueError as error:
            raise bad_file(path, f"is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise bad_file(path, "is not a JSON object")
        return found

    def content(self, path: str, most: int) -> bytes:
        """Return a file's bytes; raises ModelInfoError for one too large to be looked at."""
        size = self.files[path]
        if not 0 < size <= most:
            raise bad_file(path, f"has {size:,} bytes; 1 to {most:,} are read")
        return self.read(path)


def licence_of(there: Repository) -> str:
    """Return the terms that a repository's README names, '' for one that names none.

    Hubs keep them in its front matter; `license_name` says which one `other` is.
    """
    path = there.first("README.md")
    if path is None or not 0 < there.files[path] <= MAX_README_BYTES:
        return ""
    text = there.read(path).decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n")
    front = _FRONT_MATTER.match(text)
    if front is None:
        return ""
    said = {m[1]: m[2].strip().strip("'\"") for m in _LICENCE.finditer(front[1])}
    licence = said.get("license", "")
    if licence in {"", "other"}:
        licence = said.get("license_name", licence)
    return licence if _TERMS.fullmatch(licence) else ""


def bad_file(path: str, found: str) -> ModelInfoError:
    """Say what is wrong with a file of a repository."""
    return ModelInfoError(
        f"{path} {found}.",
        remedy="Take the model from where it was published, or write a model_info.json.",
        file=path,
    )
