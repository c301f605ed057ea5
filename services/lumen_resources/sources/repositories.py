"""What the hubs have in common: a repository's address, and a list of its files from elsewhere.

Every name in a list is a stranger's: one that would leave the model's folder, or that Lumen writes
itself, is left out, and a list beyond all reason is refused.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lumen_manifest.reading.problems import first_problem
from lumen_resources.errors import (
    InvalidConfig,
    ResourceError,
    ResourceValidationError,
    SourceUnavailableError,
)
from lumen_resources.json_text import parse_json
from lumen_resources.model.model_info import relative_path
from lumen_resources.sources.promises import FilePromise
from lumen_resources.sources.web import Document

# The largest repositories of data sets have some thousands of files.
MAX_LISTED = 50_000
# A page of a thousand files has some 300 kB.
MAX_PAGE_BYTES = 16 * 1024 * 1024
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REVISION = r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}"
# What hubs write before owner/name for another kind of repository than a model.
_KINDS = "datasets|spaces|models|kernels|buckets"
_ADDRESS = re.compile(
    rf"(?:hf|modelscope)://(?:(?P<kind>datasets)/)?(?!(?:{_KINDS})/)"
    rf"(?P<name>{_NAME}/{_NAME})(?:@(?P<revision>{_REVISION}))?/?"
)


@dataclass(frozen=True, slots=True)
class HubAddress:
    """A repository of a hub; `kind` is `models` or `datasets`, `name` is owner/name."""

    kind: str
    name: str
    revision: str

    @classmethod
    def parse(cls, uri: str) -> "HubAddress":
        """Read hf://owner/name, hf://datasets/owner/name, either with @revision at its end."""
        found = _ADDRESS.fullmatch(uri)
        if found is None or ".." in uri:
            raise InvalidConfig(
                f"spec.model.source.uri: {uri!r} names no repository.",
                remedy="Write hf://owner/name, hf://datasets/owner/name or "
                "modelscope://owner/name, with @revision at its end if one is meant.",
            )
        return cls(found["kind"] or "models", found["name"], found["revision"] or "")

    def chosen_revision(self, asked: str) -> str:
        """Return the revision that is asked for, in the address or beside it; '' for none.

        A commit that was resolved before wins over the branch that the address names.
        """
        if self.revision and asked and self.revision != asked and not _COMMIT.fullmatch(asked):
            raise InvalidConfig(
                f"spec.model.source: the uri asks for revision {self.revision}, and revision "
                f"for {asked}.",
                remedy="Name one of them.",
            )
        return asked or self.revision


Read = TypeAdapter[Any]


def read_answer(document: Document, shape: Read, what: str) -> Any:
    """Return a hub's answer in the shape it must have; SourceUnavailableError says what it is."""
    if len(document.content) > MAX_PAGE_BYTES:
        raise SourceUnavailableError(
            f"{what} has more than {MAX_PAGE_BYTES:,} bytes.", remedy="Check that it is a hub."
        )
    try:
        return shape.validate_python(parse_json(document.content))
    except ValidationError as error:
        raise _no_hub(what, first_problem(error)) from error
    except ValueError as error:
        raise _no_hub(what, str(error)) from error


def promises_of(entries: Iterable[tuple[str, FilePromise]], uri: str) -> dict[str, FilePromise]:
    """Return by path what a hub promises, as far as a model's folder may have such files."""
    promises: dict[str, FilePromise] = {}
    for number, (path, promise) in enumerate(entries):
        if number == MAX_LISTED:
            raise ResourceValidationError(
                f"{uri} has more than {MAX_LISTED:,} files.",
                remedy="Name the repository of one model.",
            )
        if promises.setdefault(path, promise) != promise:
            raise ResourceValidationError(
                f"{uri} lists {path[:200]!r} twice, with different contents.",
                remedy="Check that the source is the hub that is meant.",
            )
    return dict(_usable(promises))


def _usable(promises: dict[str, FilePromise]) -> Iterator[tuple[str, FilePromise]]:
    for path, promise in promises.items():
        try:
            relative_path(path)
        except ValueError:
            continue
        yield path, promise


def _no_hub(what: str, found: str) -> ResourceError:
    return SourceUnavailableError(
        f"{what} is not what a hub answers: {found}.",
        remedy="Check that the address is a hub's (HF_ENDPOINT, MODELSCOPE_DOMAIN), and what a "
        "proxy on the way makes of it.",
    )
