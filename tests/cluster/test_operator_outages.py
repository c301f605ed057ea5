"""The API server restarts, hangs, refuses and forgets; watches are cut or freeze in silence."""

import itertools

import pytest
from controlplane.programs import wait_until
from operator_lab import operator_lab


@pytest.fixture(scope="module")
def plane(private_control_plane):
    return private_control_plane


@pytest.fixture
def lab(plane, tmp_path):
    with operator_lab(plane, tmp_path) as found:
        yield found


def refuse_every(lab, nth, status, **headers):
    """Answer every n-th write, reading and watching aside, with an error."""
    count = itertools.count(1)
    refused = []

    def refuse(call):
        if not call.writes or next(count) % nth:
            return None
        refused.append(call)
        return status, {name.replace("_", "-"): value for name, value in headers.items()}

    lab.proxy.trouble.refuse = refuse
    return refused


@pytest.mark.parametrize(
    ("status", "headers", "reason"),
    [
        (429, {"Retry_After": "1"}, "throttled"),
        (500, {}, "server-away"),
        (503, {}, "server-away"),
    ],
)
def test_writes_that_are_refused_now_and_then_are_made_in_the_end(lab, status, headers, reason):
    operator = lab.running(LUMEN_RESYNC_S="1")
    refused = refuse_every(lab, 3, status, **headers)
    for name in ("one", "two"):
        lab.serve(name)
    lab.wait_ready("one", "two")
    assert len(refused) > 2
    figures = operator.figures()
    assert figures[f'lumen_operator_errors_total{{reason="{reason}"}}'] >= 1

    refuse_every(lab, 10**9, status)
    lab.wait_quiet(operator)


def test_watches_that_are_cut_go_on_and_nothing_is_missed(lab):
    lab.running()
    lab.serve("before")
    lab.wait_ready("before")
    for round_ in range(5):
        begun = lab.proxy.watches_begun()
        lab.proxy.cut_watches()
        lab.serve(f"cut-{round_}")
        lab.wait_until(lambda begun=begun: lab.proxy.watches_begun() > begun, "they go on")
    lab.wait_ready(*(f"cut-{round_}" for round_ in range(5)))


def test_what_was_deleted_while_nobody_watched_is_found(lab):
    operator = lab.running()
    lab.serve("stays")
    lab.serve("goes")
    lab.wait_ready("stays", "goes")
    lab.proxy.freeze_watches()
    lab.plane.delete(lab.path("lumenmodelservices", "goes"))
    lab.wait_until(lambda: not lab.children("goes"), "its children are gone")
    # A watch that was cut for long is listed anew; what is not in the list is gone.
    lab.proxy.trouble.forget = True
    lab.proxy.cut_watches()
    lab.wait_until(lambda: lab.proxy.forgotten > 0, "it begins anew")
    lab.proxy.trouble.forget = False
    lab.wait_until(lambda: services_known(operator) == 1, "what was deleted is found")
    assert operator.total("audit_mismatches") == 0
    lab.serve("next")
    lab.wait_ready("next")


def services_known(operator):
    """Count the services that the operator's page of figures knows of."""
    return sum(
        value
        for name, value in operator.figures().items()
        if name.startswith("lumen_operator_conditions{")
        and 'kind="LumenModelService"' in name
        and 'condition="Ready"' in name
    )


@pytest.mark.timeout(600)
def test_watches_that_freeze_in_silence_are_begun_anew_before_liveness_fails(lab):
    operator = lab.running(LUMEN_AUDIT_S="1")
    lab.serve("before")
    lab.wait_ready("before")
    lab.proxy.freeze_watches()
    lab.serve("unheard")

    def heard_at_last():
        assert operator.health() == (200, "ok\n")
        return lab.is_ready("unheard")

    wait_until(heard_at_last, 120.0, "the frozen watches are begun anew")
    assert operator.total("audit_mismatches") == 0


def test_watches_that_tell_nothing_for_good_fail_liveness_and_the_next_process_is_told(lab):
    operator = lab.running("impatient", "--impatient", LUMEN_AUDIT_S="1")
    lab.serve("before")
    lab.wait_ready("before")
    lab.wait_until(lambda: operator.health() == (200, "ok\n"), "it is well")
    lab.proxy.deafen_watches()
    lab.serve("unheard")
    lab.wait_until(lambda: operator.health()[0] == 503, "liveness fails")

    _, said = operator.health()
    assert "the watches of lumenmodelservices differ from the cluster" in said
    mismatches = operator.figures()
    assert mismatches['lumen_operator_audit_mismatches_total{kind="LumenModelService"}'] == 1
    assert "status" not in lab.service("unheard")

    # What the kubelet does when liveness fails.
    operator.stop()
    operator.start()
    operator.wait_until_leading()
    lab.wait_ready("unheard")
    assert operator.health() == (200, "ok\n")


def test_an_api_server_that_restarts_is_taken_up_again(lab, plane):
    operator = lab.running(LUMEN_RESYNC_S="1")
    lab.serve("before")
    lab.wait_ready("before")
    plane.restart_api_server()
    lab.serve("after")

    def works_on():
        # A server that was away for longer than the Lease lasts ended it; the kubelet begins anew.
        if not operator.process.running:
            operator.start()
        return lab.is_ready("after")

    lab.wait_until(works_on, "it works on")
    lab.wait_quiet(operator)


def test_an_api_server_that_hangs_for_long_ends_the_operator_and_the_next_one_works_on(lab, plane):
    operator = lab.running()
    lab.serve("before")
    lab.wait_ready("before")
    plane.pause_api_server()
    wait_until(lambda: not operator.process.running, 60.0, "it ends when its Lease is lost")
    plane.resume_api_server()
    operator.start()
    operator.wait_until_leading()
    lab.serve("after")
    lab.wait_ready("after")


def test_a_permission_that_is_missing_is_said_and_the_rest_goes_on_when_it_is_there(lab):
    role = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/lumen-operator.{lab.namespace}"
    rules = lab.plane.get(role)["rules"]
    without_nodes = [rule for rule in rules if rule["resources"] != ["nodes"]]
    lab.plane.patch(role, {"rules": without_nodes})
    operator = lab.operator()
    operator.start()
    lab.wait_until(lambda: "nodes is forbidden" in operator.log.read_text(), "it says which")
    assert operator.health() == (200, "ok\n")

    lab.plane.patch(role, {"rules": rules})
    lab.serve()
    lab.wait_ready()
