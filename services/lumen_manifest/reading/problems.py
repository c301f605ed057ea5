"""What is wrong with a manifest, and where; the lines that a person reads."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lumen_manifest.reading.wording import pattern_sentence

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

SHOWN_AT_MOST = 50
# A description of each thing takes a kilobyte: a document of a few megabytes may have a million.
DESCRIBED_AT_MOST = 2000


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing to correct. Lines and columns count from 1; 0 where there is no text to point at.

    `path` is the field, such as spec.model.runtime; empty when the whole document is meant.
    """

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        """Write `file:line:column  path: message`, without the parts that are not known."""
        place = ":".join([self.file, *(str(at) for at in (self.line, self.column) if at)])
        said = f"{self.path}: {self.message}" if self.path else self.message
        line = f"{place}  {said}" if place else said
        return line.replace("\n", r"\n")  # a key or a value may hold a line end


class ManifestError(ValueError):
    """A manifest cannot be used; `problems` holds everything that is wrong with it."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__(problems)

    def __str__(self) -> str:
        """Write one line per problem, a bounded number of them."""
        lines = [str(problem) for problem in self.problems[:SHOWN_AT_MOST]]
        more = len(self.problems) - SHOWN_AT_MOST
        if more > 0:
            lines.append(f"... and {more} more problems")
        return "\n".join(lines)


def first_problem(error: "ValidationError", whole: str = "") -> str:
    """Return `field: what is wrong` of the first thing; `whole` names what has no field."""
    if error.error_count() > DESCRIBED_AT_MOST:
        found = f"{error.error_count():,} things are wrong"
        return f"{whole}: {found}" if whole else found
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or whole
    said = said_of(first)
    return f"{where}: {said}" if where else said


def said_of(finding: "ErrorDetails") -> str:
    """Say one of pydantic's findings; what a pattern asks for is said in words."""
    if finding["type"] == "string_pattern_mismatch":
        return pattern_sentence(finding["input"], finding["ctx"]["pattern"])
    return finding["msg"]
