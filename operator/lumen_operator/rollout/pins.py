"""What of earlier pods and specs is kept: the files that every pod fetches, and the way back.

The first verified pod's commit and digest are what every later pod fetches. Stored specs are the
revisions that a rollout may go back to.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from lumen_manifest.model_service import NOT_A_REVISION, LumenModelService
from lumen_manifest.names import RESOURCES_CONTAINER, SERVER_CONTAINER
from lumen_manifest.pod_reports import Verified, parse_termination, verified_of
from lumen_manifest.reading.parse import ManifestError, parse_object
from lumen_manifest.render.context import Pinned
from lumen_manifest.render.records import KEPT
from lumen_operator.observe.gather import Observed, PinView
from lumen_operator.observe.views import PodView, RevisionView

SERVING = "serving"
"""The phase in which a server attests."""
NUMBER_MAX = 2**63 - 1
"""The API server counts no further, and anybody may have written a revision of that number."""


def verified_by(observed: Observed, pod: PodView) -> Verified | None:
    """Return what a pod's init container verified, else what its server says it verified again."""
    container = pod.container(RESOURCES_CONTAINER)
    run = container.ended if container is not None and container.succeeded else None
    found = verified_of(parse_termination(run.message.encode())) if run is not None else None
    if found is None or not found.digest:
        found = served_files(observed, pod.uid)
    return found if found is not None and found.digest else None


def served_files(observed: Observed, uid: str) -> Verified | None:
    """Return the files that a server says it serves; None before it serves."""
    page = serving_page(observed, uid)
    files = page.get("files")
    if not isinstance(files, dict):
        return None
    return verified_of({**files, "embeddingSpace": page.get("embeddingSpace"), "files": 0})


def serving_page(observed: Observed, uid: str) -> Mapping[str, Any]:
    """Return the status page of a server that serves, empty before."""
    report = observed.reports.get(uid)
    if report is None or report.container != SERVER_CONTAINER:
        return {}
    return report.document if report.document.get("phase") == SERVING else {}


def pinned_for(observed: Observed, service: LumenModelService) -> Pinned | None:
    """Return the pin of a service's files; None until a pod has verified them.

    A pin that is recorded never changes. The commit also holds for the same model with other label
    sets, whose digest only their own first pod can tell.
    """
    name = service.pins_name
    recorded = observed.pins.get(name)
    if recorded is not None and recorded.digest:
        return _pinned(recorded)
    commit = recorded or _of_model(observed.pins.values(), service.model_digest)
    first = _first_verified(observed, name, commit.revision if commit else None)
    if first is not None:
        return Pinned(first.revision, first.digest, first.embedding_space, first.label_sets)
    return Pinned(commit.revision, "", commit.embedding_space) if commit else None


def space_of(observed: Observed, pod: PodView) -> str:
    """Return the embedding space of a pod's files, empty while it is unknown."""
    verified = verified_by(observed, pod)
    if verified is not None and verified.embedding_space:
        return verified.embedding_space
    recorded = observed.pins.get(pod.pins)
    return recorded.embedding_space if recorded is not None and recorded.digest else ""


def _pinned(pin: PinView) -> Pinned:
    return Pinned(pin.revision, pin.digest, pin.embedding_space, pin.label_sets)


def _of_model(pins: Iterable[PinView], model: str) -> PinView | None:
    same = [pin for pin in pins if pin.model == model and pin.revision]
    return min(same, key=lambda pin: pin.name, default=None)


def _first_verified(observed: Observed, pins: str, commit: str | None) -> Verified | None:
    """Return what the oldest pod with these pins verified, at the commit if there is one."""
    found = (verified_by(observed, pod) for pod in observed.pods if pod.pins == pins)
    return next((v for v in found if v is not None and commit in {None, v.revision}), None)


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
