"""A service whose server is outside the cluster."""

from dataclasses import replace

import pytest
from operator_rollouts import report_outside, silence_outside
from operator_world import OTHER_SPACE, SPACE

from lumen_manifest.conditions import ConditionType as C
from lumen_operator.observe.kinds import SERVICES
from lumen_operator.observe.networks import ExternalNetworks

BOARD = "board.lan:50051"
AT_HOME = ("192.168.7.20",)


@pytest.fixture
def world(world):
    networks = ExternalNetworks.parse(["192.168.7.0/24", "fd00:7::/64"])
    world.context = replace(world.context, external_networks=networks)
    return world


def routed(world, key):
    return [each["service"] for each in world.status(key)["routes"]]


def a_board(world, address=BOARD):
    return world.service("board", pool=None, external=address)


def answers(world, key, *addresses, space=SPACE):
    report_outside(world, key, BOARD, space, addresses or AT_HOME)
    world.settle(key)


def is_silent(world, key, *addresses):
    silence_outside(world, key, BOARD, addresses)
    world.settle(key)


@pytest.fixture
def board(world):
    """A board that answers at home."""
    key = a_board(world)
    answers(world, key)
    return key


def test_an_external_server_is_routed_to_and_attested_and_nothing_is_deployed(world):
    key = a_board(world)
    decision = world.reconcile(key)

    assert decision.apply == ()
    (address,) = decision.poll
    assert (address.ip, address.port, address.external) == ("board.lan", 9090, True)
    status = world.status(key)
    assert (status["endpoint"], status["reason"]) == (BOARD, "NoReplicaReady")

    answers(world, key)
    status = world.status(key)
    assert (status["reason"], status["ready"]) == ("", "1/1")
    assert status["runtime"]["device"] == "rk3588"
    assert status["embeddingSpace"] == SPACE
    assert status["files"] == {"revision": "commit-1", "digest": "d" * 64, "bytes": 9}


def test_the_router_is_given_the_addresses_that_were_judged_and_no_name(world):
    key = a_board(world)
    world.settle(key)
    assert routed(world, key) == []

    answers(world, key, "192.168.7.20", "fd00:7::9")
    assert routed(world, key) == ["192.168.7.20:50051", "[fd00:7::9]:50051"]


def test_an_address_is_routed_to_before_its_server_answers(world):
    key = a_board(world, "[fd00:7::9]:50051")
    world.settle(key)

    assert routed(world, key) == ["[fd00:7::9]:50051"]


@pytest.mark.parametrize(
    ("address", "said", "todo"),
    [
        ("10.1.2.3:50051", "spec.external 10.1.2.3:50051 is in no network", "10.1.2.0/24"),
        (
            "[64:ff9b::a01:203]:50051",
            "spec.external [64:ff9b::a01:203]:50051 (which is 10.1.2.3) is in no network",
            "10.1.2.0/24",
        ),
        ("169.254.169.254:80", "169.254.169.254:80 is in no network", "an address of its own"),
        ("2130706433:50051", "is neither an address nor a name", "192.168.7.20:50051"),
        ("192.168.7.20:0", "is neither an address nor a name", "192.168.7.20:50051"),
        ("board.lan:70000", "is neither an address nor a name", "192.168.7.20:50051"),
    ],
)
def test_an_address_in_no_named_network_is_neither_asked_nor_routed_to(world, address, said, todo):
    key = a_board(world, address)
    decision = world.reconcile(key)
    ready = world.condition(key, C.READY)

    assert decision.poll == ()
    assert routed(world, key) == []
    assert (ready["status"], ready["reason"]) == ("False", "InvalidSpec")
    assert said in ready["message"]
    assert todo in ready["message"]


def test_a_name_with_one_address_in_no_named_network_is_not_routed_to_and_asked_again(world, board):
    is_silent(world, board, "10.1.2.3")

    assert routed(world, board) == []
    accepted = world.condition(board, C.ACCEPTED)
    assert (accepted["status"], accepted["reason"]) == ("False", "InvalidSpec")
    assert accepted["message"] == (
        "spec.external board.lan:50051 resolves to 10.1.2.3, which is in no network of "
        "external.allowedNetworks. Ask the administrator to add 10.1.2.0/24, or less of it, to "
        "external.allowedNetworks in the chart's values, or name a server that is in one of them."
    )
    assert [each.ip for each in world.reconcile(board).poll] == ["board.lan"]

    answers(world, board)
    assert world.status(board)["reason"] == ""


def test_an_external_server_that_no_longer_answers_is_not_ready(world, board):
    is_silent(world, board)

    assert world.status(board)["reason"] == "NoReplicaReady"
    assert world.status(board)["tasks"] == ["clip_image_embed"]
    assert routed(world, board) == ["192.168.7.20:50051"]


def test_a_name_that_nobody_knows_says_so(world):
    key = a_board(world)
    is_silent(world, key)

    assert (
        "The name board.lan of spec.external is not known"
        in (world.condition(key, C.READY)["message"])
    )


def test_a_server_whose_turn_has_not_come_stays_as_it_was_however_long_that_takes(world, board):
    world.reports.clear()
    world.later(3600)
    assert world.reconcile(board).status is None

    assert (world.status(board)["reason"], world.status(board)["ready"]) == ("", "1/1")
    assert routed(world, board) == ["192.168.7.20:50051"]


def test_a_network_that_is_no_longer_named_ends_the_routes_before_anybody_is_asked(world, board):
    world.reports.clear()
    world.context = replace(world.context, external_networks=ExternalNetworks())
    world.settle(board)

    assert world.status(board)["ready"] == "0/1"
    assert routed(world, board) == []


def test_what_was_said_at_another_address_is_no_word_of_this_one(world, board):
    a_board(world, "192.168.7.21:50051")
    world.settle(board)

    assert world.status(board)["reason"] == "NoReplicaReady"
    assert routed(world, board) == ["192.168.7.21:50051"]


def test_an_external_server_may_not_change_its_space_unasked(world):
    key = a_board(world)
    report_outside(world, key, BOARD)
    world.settle(key)
    report_outside(world, key, BOARD, OTHER_SPACE)
    world.settle(key)
    assert world.status(key)["embeddingSpace"] == SPACE
    assert "allowReindex" in world.condition(key, C.READY)["message"]

    world.service("board", rollout={"allowReindex": True})
    world.settle(key)
    assert world.status(key)["embeddingSpace"] == OTHER_SPACE
    assert world.status(key)["reason"] == ""


def test_a_service_that_moves_outside_leaves_no_children(world):
    key = world.served()
    world.change(key, pool=None, external=BOARD)

    left = [k for k in world.objects if k[0] not in {"pods", "replicasets", "nodes"}]
    assert {plural for plural, _, _ in left} == {SERVICES.plural, "lumennodepools"}


def test_a_service_that_would_move_where_it_may_not_be_called_keeps_its_children(world):
    key = world.served()
    before = set(world.objects)
    world.change(key, pool=None, external="10.1.2.3:50051")

    assert set(world.objects) == before
