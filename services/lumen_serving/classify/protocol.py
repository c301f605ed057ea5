"""Which labels a request asks for, and how what was found is shown.

Between the meta of a request and the numbers of a label index: chooses the label set, checks the
query, and turns rows into names, lineages and response meta.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lumen_serving.inference.queue import Scoring
from lumen_wire.meta import RequestMeta


@dataclass(frozen=True, slots=True)
class Result:
    """The rows of an answer, best first, and the meta that goes with them."""

    labels: Sequence[tuple[str, float]]
    meta: dict[str, str]


class Query(Scoring, Protocol):
    """One request's query, which goes through the model with its picture."""

    def result(self, scored: Any) -> Result:
        """Return the answer for what `score` gave for the request's picture."""
        ...


class Classifier(Protocol):
    """A source of labels: the label sets, or the scenes."""

    @property
    def resident_bytes(self) -> int:
        """The memory that its indexes hold."""
        ...

    @property
    def facts(self) -> dict[str, str]:
        """What the capability's `extra` says of it."""
        ...

    def query(self, meta: RequestMeta) -> Query:
        """Return the query that a request's meta asks for.

        Raises:
            UnknownLabelSet, BadQuery: there is no such set, rank or branch.

        """
        ...
