"""The operator while its machine's wall clock is set anew, or differs from everybody else's."""

import time
from datetime import UTC, datetime

import pytest
from controlplane.nodes import BEHAVIOUR, TERMINATION_MESSAGE, Behaviour
from operator_lab import operator_lab

HOUR_S = 3600.0
STEPS = pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S], ids=["forward", "back"])
RENEWALS = 7
"""As many as take longer than the Lease lasts."""


class Clock:
    """The wall clock of an operator with these `options`; `set` sets it anew, while it runs."""

    def __init__(self, file):
        self._file = file
        self.options = ("--clock", file)
        self.set(0.0)

    def set(self, ahead_s):
        new = self._file.with_suffix(".new")
        new.write_text(str(ahead_s))
        new.replace(self._file)


@pytest.fixture
def lab(control_plane, tmp_path):
    with operator_lab(control_plane, tmp_path) as found:
        yield found


@pytest.fixture
def clock(tmp_path):
    return Clock(tmp_path / "clock")


def lease(lab):
    return lab.plane.get(lab.path("leases", "lumen-operator"))["spec"]


def wait_for_renewals(lab):
    """Return once whoever leads has renewed the Lease for longer than it lasts."""

    def renewals():
        return sum(call.method == "PUT" and "/leases/" in call.path for call in lab.proxy.calls)

    wanted = renewals() + RENEWALS
    lab.wait_until(lambda: renewals() >= wanted, "the Lease is renewed")


def ahead_s(moment):
    """Return by how many seconds a time that an operator wrote is ahead of ours."""
    return (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()


def says_that_the_clock_was_set(operator, step_s):
    """Return whether the operator tells when that was: by its own clock, a moment ago."""
    told = operator.figures()["lumen_operator_clock_set_timestamp_seconds"]
    return told == pytest.approx(time.time() + step_s, abs=HOUR_S / 2)


def told_of_trouble(operator):
    """Return the figures by which the operator would say that something is not as it should be."""
    names = ("errors", "audit_mismatches", "writes_in_vain")
    found = {name: operator.total(name) for name in names}
    return {name: value for name, value in found.items() if value}


@STEPS
def test_a_leader_whose_clock_is_set_keeps_the_lease_and_works_on(lab, clock, step_s):
    operator = lab.running("operator", *clock.options, LUMEN_RESYNC_S="1")
    lab.serve("before")
    lab.wait_ready("before")
    pid, held = operator.process.pid, lease(lab)
    clock.set(step_s)
    wait_for_renewals(lab)
    lab.serve("after")
    lab.wait_ready("after")
    lab.wait_quiet(operator)

    now = lease(lab)
    assert ahead_s(now["renewTime"]) == pytest.approx(step_s, abs=HOUR_S / 2), "it was not set"
    for field in ("holderIdentity", "leaseTransitions", "acquireTime"):
        assert now[field] == held[field]
    assert (operator.process.running, operator.process.pid) == (True, pid)
    assert operator.leads()
    assert operator.health() == (200, "ok\n")
    assert says_that_the_clock_was_set(operator, step_s)
    assert told_of_trouble(operator) == {}


@STEPS
def test_one_that_stands_by_takes_no_lease_that_is_renewed_by_another_clock(lab, clock, step_s):
    first = lab.running("first")
    clock.set(step_s)
    second = lab.standing_by("second", clock.options)
    held = lease(lab)
    wait_for_renewals(lab)

    assert (first.leads(), second.leads()) == (True, False)
    assert lease(lab)["leaseTransitions"] == held["leaseTransitions"]

    first.kill()
    lab.wait_until(second.leads, "the second one leads")
    lab.serve()
    lab.wait_ready()
    assert ahead_s(lease(lab)["renewTime"]) == pytest.approx(step_s, abs=HOUR_S / 2)


@STEPS
def test_a_rollout_is_not_given_up_because_the_clock_was_set(lab, clock, step_s):
    operator = lab.running("operator", *clock.options, LUMEN_RESYNC_S="1")
    lab.serve()
    lab.wait_ready()
    before = lab.service()["status"]["stableRevision"]
    pod = roll_out(lab, Behaviour.SLOW)
    clock.set(step_s)
    lab.wait_until(lambda: says_that_the_clock_was_set(operator, step_s), "it is noticed")
    lab.wait_looked_at(operator)

    status = lab.service()["status"]
    assert lab.condition("Progressing") == ("True", "RollingOut")
    assert status.get("rejectedRevision", "") == ""
    assert status["stableRevision"] == before

    lab.plane.set_behaviour(lab.namespace, pod, Behaviour.READY)
    lab.wait_until(lambda: lab.service()["status"]["stableRevision"] != before, "it is stable")
    lab.wait_ready()
    lab.wait_quiet(operator)
    assert told_of_trouble(operator) == {}


def roll_out(lab, behaviour):
    """Change the spec so that new pods behave so; return the first one, once it is placed."""
    pods = {pod["metadata"]["name"] for pod in lab.plane.pods(lab.namespace)}
    service = lab.a_service()
    words = service["spec"]["podTemplate"]["annotations"][TERMINATION_MESSAGE]
    service["spec"]["podTemplate"] = {
        "annotations": {TERMINATION_MESSAGE: words, BEHAVIOUR: behaviour}
    }
    lab.apply(service)

    def new():
        found = lab.plane.pods(lab.namespace, "lumen.dev/service=clip")
        return [
            pod["metadata"]["name"]
            for pod in found
            if pod["metadata"]["name"] not in pods and pod["status"].get("podIP")
        ]

    lab.wait_until(lambda: bool(new()), "a new pod is placed")
    lab.wait_until(
        lambda: lab.condition("Progressing") == ("True", "RollingOut"), "the rollout is told"
    )
    return new()[0]
