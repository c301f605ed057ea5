"""What ready servers say of themselves: model, tasks, runtime, and the space of the vectors.

It is kept in status while no server can be asked, since it was true of the pods that were.
"""

from collections import Counter
from collections.abc import Iterable

from lumen_manifest.model_service import ModelServiceStatus
from lumen_manifest.pod_reports import Attestation, attestation_of, runtime_status
from lumen_manifest.spec.service_status import FilesStatus
from lumen_operator.observe.gather import Observed
from lumen_operator.rollout.model import Rollout
from lumen_operator.rollout.pins import serving_page, space_of, verified_by


def attestation_from(observed: Observed, uid: str) -> Attestation | None:
    """Return what the server of a pod attested; None before it serves."""
    page = serving_page(observed, uid)
    return attestation_of(page) if page else None


def spokesman(observed: Observed, rollouts: Iterable[Rollout]) -> Attestation | None:
    """Return what the oldest serving pod of the first target attested, else any serving pod."""
    for rollout in rollouts:
        for pod in (*rollout.pods.fresh, *rollout.pods.old):
            if pod.serves and (said := attestation_from(observed, pod.uid)) is not None:
                return said
    return None


def with_attestation(status: ModelServiceStatus, said: Attestation | None) -> ModelServiceStatus:
    """Write down what a server said; without one, what was known stays."""
    if said is None:
        return status
    return status.model_copy(
        update={
            "tasks": said.tasks,
            "model_id": said.model_id,
            "embedding_dim": said.embedding_dim,
            "runtime": runtime_status(said),
        }
    )


def files_of(observed: Observed, rollout: Rollout) -> FilesStatus | None:
    """Return the files that every pod of the target fetches, and how far fetching is."""
    before = observed.status.files or FilesStatus()
    pinned = rollout.pinned
    if pinned is None:
        empty = FilesStatus(progress=rollout.progress)
        return empty if rollout.progress is not None else None
    verified = (verified_by(observed, pod) for pod in rollout.pods.fresh)
    sizes = [each.file_bytes for each in verified if each and each.digest == pinned.digest]
    same = before.digest == pinned.digest
    return FilesStatus(
        revision=pinned.revision,
        digest=pinned.digest,
        bytes=sizes[0] if sizes else before.bytes if same else 0,
        progress=rollout.progress,
    )


def space_to_serve(observed: Observed, rollout: Rollout) -> str:
    """Return the embedding space that the router serves: all pods change over at once.

    The target's space takes over when as many of its pods serve as of the present one's, so that
    the vectors' meaning changes once, and never back and forth.
    """
    now = observed.status.embedding_space
    goal = rollout.pinned.embedding_space if rollout.pinned is not None else ""
    if not goal or goal == now:
        return now
    if not now or not _may_change(rollout):
        return now or goal
    serving = Counter(space_of(observed, pod) for pod in observed.pods if pod.serves)
    return goal if serving[goal] >= max(1, serving[now]) else now


def _may_change(rollout: Rollout) -> bool:
    """Return whether the target may bring another space: by leave, as stable, or at first."""
    allowed = rollout.target.service.spec.rollout.allow_reindex
    return allowed or rollout.stable in {"", rollout.target.revision}
