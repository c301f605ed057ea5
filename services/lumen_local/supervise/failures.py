"""Why a process ended (its own last words, else its exit), and when it is tried again. Pure.

A process that wrote no termination message is judged by its exit code and its last log lines, as
`terminationMessagePolicy: FallbackToLogsOnError` does.
"""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lumen_manifest.conditions import Reason
from lumen_manifest.pod_reports import Failure, named_failure
from lumen_process.backoff import Backoff

RESTARTS = Backoff(first_s=0.5, longest_s=30.0, chance=0.0)
"""Kubernetes' crash-loop rule at a person's pace: 10 s to 5 min there."""

STABLE_S = 60.0


def failures_after(failures: int, uptime_s: float) -> int:
    """Count one more failure; after a stable time it is the first again."""
    return 1 if uptime_s >= STABLE_S else failures + 1


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: `code` is negative for a signal, as the subprocess module has it."""

    code: int

    @property
    def text(self) -> str:
        """Say it in words."""
        if self.code >= 0:
            return f"ended with exit code {self.code}"
        try:
            name = signal.Signals(-self.code).name
        except ValueError:
            name = f"signal {-self.code}"
        return f"was killed by {name}"


def failure_of(
    message: Mapping[str, Any], ended: Exit, last_lines: Sequence[str], *, init: bool
) -> Failure:
    """Name the failure of a process: its own words first, else its exit and its last lines."""
    named = named_failure(message)
    if named is not None:
        return named
    said = last_lines[-1].strip() if last_lines else ""
    text = f"The process {ended.text}."
    if ended.code == -signal.SIGKILL:
        text += " Nobody here asked for it: this machine may be short of memory."
    return Failure(
        reason=Reason.UNKNOWN if init else Reason.SERVER_CRASHED,
        message=f"{text} Its last line: {said}" if said else text,
    )
