"""Conditions from findings: what is true of a service, and what is not with its reason."""

from collections.abc import Mapping
from dataclasses import dataclass

from lumen_manifest.conditions import READY_NEEDS, ConditionType, Reason
from lumen_manifest.pod_reports import attestation_of
from lumen_operator.diagnose.finding import MESSAGE_MAX, Finding, find, worst
from lumen_operator.observe.gather import Observed
from lumen_operator.rollout.model import Rollout, staying
from lumen_operator.rollout.pins import verified_by
from lumen_operator.rollout.plan import forbidden_pods

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"


@dataclass(frozen=True, slots=True)
class ConditionState:
    """One condition without its time; a `generation` other than 0 is that of an earlier spec."""

    status: str
    reason: Reason
    message: str
    generation: int = 0


Statements = Mapping[ConditionType, ConditionState]


def holds(reason: Reason, said: str = "") -> ConditionState:
    """State that a condition is true."""
    return ConditionState(TRUE, reason, said or reason.meaning)


def fails(finding: Finding) -> ConditionState:
    """State that a condition is false."""
    return ConditionState(FALSE, finding.reason, finding.message)


def unknown(reason: Reason = Reason.UNKNOWN, said: str = "") -> ConditionState:
    """State that nobody can say yet."""
    return ConditionState(UNKNOWN, reason, said or f"{reason.meaning} {reason.remedy()}".strip())


def service_statements(
    observed: Observed, rollout: Rollout, problem: Finding | None
) -> dict[ConditionType, ConditionState]:
    """State all of a service that runs here; `problem` is what is wrong with its spec."""
    if problem is None and not any(pod.serves for pod in observed.pods):
        problem = next((f for f in rollout.findings if f.condition is ConditionType.ACCEPTED), None)
    found = {
        ConditionType.ACCEPTED: fails(problem) if problem else holds(Reason.ACCEPTED),
        **_of_pods(observed, rollout),
        ConditionType.PROGRESSING: _progressing(observed, rollout),
    }
    if rollout.target.service.spec.autoscaling is not None:
        found[ConditionType.AUTOSCALING] = _autoscaling(observed)
    return {**found, ConditionType.READY: ready_of(found)}


def ready_of(found: Statements) -> ConditionState:
    """State Ready: true when all it needs are, else the first false one's reason and message.

    What is false goes before what is unknown: it is the cause.
    """
    needs = [found[each] for each in READY_NEEDS if each in found]
    for status in (FALSE, UNKNOWN):
        for each in needs:
            if each.status == status:
                return ConditionState(FALSE, each.reason, each.message)
    return holds(Reason.READY)


def _of_pods(observed: Observed, rollout: Rollout) -> dict[ConditionType, ConditionState]:
    serving = [pod for pod in observed.pods if pod.serves]
    wanted = rollout.target.service.spec.replicas
    if serving:
        return {
            ConditionType.RESOURCES_READY: holds(Reason.VERIFIED),
            ConditionType.DEVICE_READY: _attested(observed, rollout),
            ConditionType.AVAILABLE: holds(
                Reason.MINIMUM_REPLICAS_AVAILABLE, f"{len(serving)} of {wanted} pods serve."
            ),
        }
    return {
        ConditionType.RESOURCES_READY: _resources(observed, rollout),
        ConditionType.DEVICE_READY: _first(rollout, ConditionType.DEVICE_READY) or unknown(),
        ConditionType.AVAILABLE: _available(observed, rollout, wanted),
    }


def _attested(observed: Observed, rollout: Rollout) -> ConditionState:
    """A server becomes ready on its device only; its page says on which."""
    pool = rollout.target.pool
    for pod in rollout.pods.fresh:
        said = _device_of(observed, pod.uid)
        if pod.serves and said and said not in {pool.spec.accelerator.value, "fake"}:
            text = (
                f"Pool {pool.name} promises {pool.spec.accelerator}, pod {pod.name} is on {said}."
            )
            return fails(find(ConditionType.DEVICE_READY, Reason.DEVICE_MISMATCH, text))
    return holds(Reason.DEVICE_ATTESTED)


def _device_of(observed: Observed, uid: str) -> str:
    report = observed.reports.get(uid)
    return attestation_of(report.document).device if report is not None else ""


def _resources(observed: Observed, rollout: Rollout) -> ConditionState:
    found = _first(rollout, ConditionType.RESOURCES_READY)
    if found is not None:
        return found
    if any(verified_by(observed, pod) is not None for pod in rollout.pods.fresh):
        return holds(Reason.VERIFIED)
    return unknown()


def _first(rollout: Rollout, type_: ConditionType) -> ConditionState | None:
    found = worst(each for each in rollout.findings if each.condition is type_)
    return fails(found) if found is not None else None


def _available(observed: Observed, rollout: Rollout, wanted: int) -> ConditionState:
    at, name = ConditionType.AVAILABLE, rollout.target.service.name
    if wanted == 0:
        return fails(find(at, Reason.SCALED_TO_ZERO, service=name))
    forbidden = forbidden_pods(observed)
    if forbidden and not staying(rollout.pods.fresh):
        return fails(find(at, Reason.PODS_FORBIDDEN, forbidden, remedy=_admitting(forbidden)))
    return _first(rollout, at) or fails(find(at, Reason.NO_REPLICA_READY, service=name))


def _admitting(said: str) -> str | None:
    """Say what admits pods that a Pod Security level keeps out; None for a quota or a limit."""
    if "PodSecurity" not in said:
        return None
    return (
        "Label the namespace with a Pod Security level that admits what the message names "
        "(pod-security.kubernetes.io/enforce), or use a pool that needs less."
    )


def _progressing(observed: Observed, rollout: Rollout) -> ConditionState:
    if rollout.back is not None:
        return ConditionState(TRUE, rollout.back.reason, rollout.back.message)
    if rollout.failed is not None:
        return fails(rollout.failed)
    if not rollout.runs:
        return ConditionState(FALSE, Reason.ROLLOUT_COMPLETE, Reason.ROLLOUT_COMPLETE.meaning)
    serving = sum(pod.serves for pod in rollout.pods.fresh)
    said = f"Revision {rollout.target.revision}: {serving} of {rollout.replicas} pods serve."
    forbidden = forbidden_pods(observed)
    holds_it = worst(rollout.findings)
    why = holds_it.message if holds_it is not None else forbidden
    return holds(Reason.ROLLING_OUT, f"{said} {why}".strip()[:MESSAGE_MAX])


def _autoscaling(observed: Observed) -> ConditionState:
    view = observed.autoscaler
    if view is None or not view.scaling or view.scaling == UNKNOWN:
        return unknown(Reason.METRICS_UNAVAILABLE, "The autoscaler has not looked yet.")
    if view.scaling == TRUE:
        return holds(Reason.ACTIVE)
    if view.reason == "ScalingDisabled":
        text = "spec.replicas is 0, so nothing is scaled. Start it with `kubectl scale lms`."
        return ConditionState(FALSE, Reason.METRICS_UNAVAILABLE, text)
    said = f"{view.reason}: {view.message}"
    return fails(find(ConditionType.AUTOSCALING, Reason.METRICS_UNAVAILABLE, said))
