"""The operator ended by `kill -9` after any write, and operators that follow or meet each other."""

import pytest
from controlplane.programs import wait_until
from operator_lab import READY_WITHIN_S, operator_lab

CHILDREN = [
    "configmaps",
    "configmaps",
    "controllerrevisions",
    "deployments",
    "networkpolicies",
    "poddisruptionbudgets",
    "services",
]
"""One of each; the second ConfigMap keeps what the first verified pod found."""


@pytest.fixture(scope="module")
def shared_lab(control_plane, tmp_path_factory):
    with operator_lab(control_plane, tmp_path_factory.mktemp("crashes")) as found:
        yield found


@pytest.fixture
def lab(shared_lab):
    yield shared_lab
    for operator in shared_lab.operators:
        operator.stop()


def kill_after(lab, operator, writes):
    """Let the operator die when the API server has done that many writes, before it hears of it."""
    left = [writes]

    def after_write(_):
        left[0] -= 1
        if left[0] == 0:
            operator.process.kill()

    lab.proxy.trouble.after_write = after_write


def is_whole(lab, name):
    """Return whether a service has its children, each once, all its own, and as many pods."""
    children = lab.children(name)
    uid = lab.service(name)["metadata"]["uid"]
    owners = {ref["uid"] for c in children.values() for ref in c["metadata"]["ownerReferences"]}
    pods = lab.plane.pods(lab.namespace, f"lumen.dev/service={name}")
    kinds = sorted(each.split("/")[0] for each in children)
    return kinds == CHILDREN and owners == {uid} and len(pods) == 1


@pytest.mark.timeout(400)
def test_killed_after_any_write_it_converges_without_duplicates_or_orphans(lab):
    operator = lab.running(LUMEN_RESYNC_S="1")
    before = len(lab.proxy.writes)
    lab.serve("whole")
    lab.wait_until(lambda: lab.is_ready("whole") and is_whole(lab, "whole"), "it is whole")
    lab.wait_quiet(operator)
    writes = len(lab.proxy.writes) - before
    assert writes > len(CHILDREN)

    for step in range(1, writes + 1):
        name = f"killed-{step}"
        kill_after(lab, operator, step)
        lab.serve(name)
        # A run may need fewer writes than the first one did: then there is nobody to kill. Nor does
        # the last write wait for the blow: the children may be whole a moment before it falls.
        wait_until(
            lambda name=name: not operator.process.running or is_whole(lab, name),
            60.0,
            f"it is killed after write {step}",
        )
        lab.proxy.trouble.after_write = lambda _: None

        def whole_again(name=name):
            if not operator.process.running:
                operator.start()
                operator.wait_until_leading()
            return lab.is_ready(name) and is_whole(lab, name)

        wait_until(whole_again, READY_WITHIN_S, f"{name} is whole")


def looks_at_the_lease(lab, after):
    """Count how often the Lease was looked at, after so many calls, before it was taken."""
    calls = [call.method for call in lab.proxy.calls[after:] if "/leases/" in call.path]
    return calls.index("PUT") if "PUT" in calls else len(calls)


def test_a_second_operator_takes_over_within_seven_looks_when_the_first_is_killed(lab):
    first = lab.running("first")
    second = lab.standing_by("second")
    assert second.health() == (200, "ok\n")
    assert not second.leads()

    first.kill()
    calls = len(lab.proxy.calls)
    lab.wait_until(second.leads, "the second one leads")
    # Two seconds apart: within 15 s, unless the machine is so busy that a second is longer.
    assert looks_at_the_lease(lab, calls) <= 7
    lab.serve("after-takeover")
    lab.wait_ready("after-takeover")


def test_an_operator_that_stops_hands_over_at_once(lab):
    first = lab.running("first")
    second = lab.standing_by("second")
    first.stop()
    calls = len(lab.proxy.calls)
    lab.wait_until(second.leads, "the second one leads")

    assert looks_at_the_lease(lab, calls) <= 1


def test_two_that_lead_at_once_do_no_harm_to_each_other(lab):
    # Two Leases stand for what elections prevent: a frozen leader that goes on where it was.
    lab.plane.create(
        f"/apis/rbac.authorization.k8s.io/v1/namespaces/{lab.namespace}/rolebindings",
        a_binding_to_any_lease(lab.namespace),
    )
    both = [
        lab.running(name, LUMEN_LEASE_NAME=f"lease-{name}", LUMEN_RESYNC_S="1")
        for name in ("one", "two")
    ]
    lab.serve("contested", replicas=2)
    lab.wait_until(lambda: lab.is_ready("contested"), "it is Ready")
    for operator in both:
        lab.wait_quiet(operator)
    lab.serve("contested", replicas=1)
    lab.wait_until(lambda: is_whole(lab, "contested") and lab.is_ready("contested"), "it is whole")
    for operator in both:
        lab.wait_quiet(operator)


def a_binding_to_any_lease(namespace):
    return {
        "metadata": {"name": "any-lease"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "admin",
        },
        "subjects": [{"kind": "ServiceAccount", "name": "lumen-operator", "namespace": namespace}],
    }
