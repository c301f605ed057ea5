"""A finding: something that is not, or not yet, as it should be, and which condition says so."""

from collections.abc import Iterable
from dataclasses import dataclass

from lumen_manifest.conditions import OUTCOMES, ConditionType, Reason
from lumen_operator.diagnose.causes import remedy_for

MESSAGE_MAX = 4096
"""What a condition's message may hold."""

WAITING = frozenset(
    {
        Reason.FETCHING,
        Reason.PREPARING,
        Reason.UNKNOWN,
        Reason.NO_REPLICA_READY,
        Reason.SCALED_TO_ZERO,
    }
)
"""Nothing is wrong: time, or whoever scaled to zero, will change it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding; `message` says what happened and ends with what to do about it.

    `said` and `remedy` are its halves. `final` findings stay until somebody changes something.
    """

    condition: ConditionType
    reason: Reason
    message: str
    said: str = ""
    final: bool = False
    remedy: str = ""

    @property
    def waits(self) -> bool:
        """Whether nothing is wrong yet."""
        return self.reason in WAITING


def find(
    condition: ConditionType,
    reason: Reason,
    said: str = "",
    *,
    remedy: str | None = None,
    final: bool = False,
    **facts: str,
) -> Finding:
    """Make a finding; its words are the reason's own where the case has none to say.

    What is to be done goes by what `said` tells of the cause, where no `remedy` is given.
    """
    first = ended(said or reason.meaning)
    todo = remedy_for(reason, first, facts) if remedy is None else remedy
    message = f"{first} {todo}".strip()
    if len(message) > MESSAGE_MAX:
        first = first[: max(0, MESSAGE_MAX - len(todo) - 4)] + "..."
        message = f"{first} {todo}"[:MESSAGE_MAX]
    return Finding(condition, reason, message, first, final, todo)


def ended(sentence: str) -> str:
    """Close a sentence with a full stop unless it is closed."""
    text = sentence.strip()
    return text if text.endswith((".", "!", "?", "...")) else f"{text}."


def counted(count: int, noun: str) -> str:
    """Write a number of things: 1 pod, 2 pods."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def worst(findings: Iterable[Finding]) -> Finding | None:
    """Return the first in which something is wrong, else the first."""
    return min(findings, key=lambda each: each.waits, default=None)


def condition_of(reason: Reason, *, at: ConditionType) -> ConditionType:
    """Return the condition that carries a reason; `at` for one that several carry, or none."""
    carriers = [type_ for type_, outcome in OUTCOMES.items() if reason in outcome.otherwise]
    return carriers[0] if len(carriers) == 1 else at
