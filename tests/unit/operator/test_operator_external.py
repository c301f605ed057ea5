"""A service whose server is outside the cluster."""

from operator_rollouts import report
from operator_world import OTHER_SPACE, SPACE

from lumen_manifest.conditions import ConditionType as C
from lumen_operator.kinds import SERVICES


def test_an_external_server_is_routed_to_and_attested_and_nothing_is_deployed(world):
    key = world.service("board", pool=None, external="board.lan:50051")
    decision = world.reconcile(key)

    assert decision.apply == ()
    (address,) = decision.poll
    assert (address.ip, address.port) == ("board.lan", 9090)
    status = world.status(key)
    assert (status["endpoint"], status["reason"]) == ("board.lan:50051", "NoReplicaReady")
    assert [each["service"] for each in status["routes"]] == ["board.lan:50051"]

    report(world, address.uid)
    world.settle(key)
    status = world.status(key)
    assert (status["reason"], status["ready"]) == ("", "1/1")
    assert status["runtime"]["device"] == "rk3588"
    assert status["embeddingSpace"] == SPACE
    assert status["files"] == {"revision": "commit-1", "digest": "d" * 64, "bytes": 9}


def test_an_external_server_that_no_longer_answers_is_not_ready(world):
    key = world.service("board", pool=None, external="board.lan:50051")
    report(world, "external/photos/board")
    world.settle(key)
    world.later(31)
    world.settle(key)

    assert world.status(key)["reason"] == "NoReplicaReady"
    assert world.status(key)["tasks"] == ["clip_image_embed"]


def test_an_external_server_may_not_change_its_space_unasked(world):
    key = world.service("board", pool=None, external="board.lan:50051")
    report(world, "external/photos/board")
    world.settle(key)
    report(world, "external/photos/board", OTHER_SPACE)
    world.settle(key)
    assert world.status(key)["embeddingSpace"] == SPACE
    assert "allowReindex" in world.condition(key, C.READY)["message"]

    world.service("board", rollout={"allowReindex": True})
    world.settle(key)
    assert world.status(key)["embeddingSpace"] == OTHER_SPACE
    assert world.status(key)["reason"] == ""


def test_a_service_that_moves_outside_leaves_no_children(world):
    key = world.service()
    world.serve(key)
    world.service(pool=None, external="board.lan:50051")
    world.settle(key)

    left = [k for k in world.objects if k[0] not in {"pods", "replicasets", "nodes"}]
    assert {plural for plural, _, _ in left} == {SERVICES.plural, "lumennodepools"}
