"""Revisions of a service: the stored specs, their order, and the way back to one of them."""

from collections.abc import Iterable

from lumen_manifest.model_service import LumenModelService
from lumen_manifest.reading.parse import ManifestError, parse_object
from lumen_manifest.render.controller_revision import KEPT, NOT_A_REVISION
from lumen_operator.observe.views import RevisionView

NUMBER_MAX = 2**63 - 1
"""The API server counts no further, and anybody may have written a revision of that number."""


def number_of(revisions: Iterable[RevisionView], name: str) -> int:
    """Return the number of a revision that is in use now: the highest of all."""
    stored = tuple(revisions)
    highest = max((each.number for each in stored), default=0)
    newest = any(each.name == name and each.number == highest for each in stored)
    return highest if newest else min(highest + 1, NUMBER_MAX)


def restored(
    service: LumenModelService, revisions: Iterable[RevisionView], name: str
) -> LumenModelService | None:
    """Return the service as a stored revision had it; None when it cannot be had again.

    What makes no revision (replicas, autoscaling, names, rollout) stays as it is now.
    """
    stored = next((each.spec for each in revisions if each.name == name), None)
    if stored is None:
        return None
    now = service.model_dump(mode="json", by_alias=True, exclude_none=True)
    kept = {key: value for key, value in now["spec"].items() if key in NOT_A_REVISION}
    spec = {key: value for key, value in stored.items() if key not in NOT_A_REVISION}
    try:
        found = parse_object({**now, "spec": {**spec, **kept}})
    except ManifestError:
        return None
    return found if isinstance(found, LumenModelService) else None


def outdated(revisions: Iterable[RevisionView], needed: Iterable[str]) -> tuple[RevisionView, ...]:
    """Return the stored revisions beyond the newest five, but none that is needed."""
    kept = set(needed)
    newest_first = sorted(revisions, key=lambda each: (-each.number, each.name))
    others = [each for each in newest_first if each.name not in kept]
    room = max(0, KEPT - (len(newest_first) - len(others)))
    return tuple(others[room:])
