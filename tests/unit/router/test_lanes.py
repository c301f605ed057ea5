"""Which of a pod's connections a call goes out on."""

import pytest

from lumen_router.upstream.lanes import CALLS_A_LANE, MOST_LANES, Lanes
from lumen_wire.server.grpc_server import ServerOptions


@pytest.fixture
async def lanes():
    found = Lanes("127.0.0.1:1")
    yield found
    await found.close()


async def test_a_connection_is_added_before_one_is_full_and_no_more_than_it_takes(lanes):
    for _ in range(CALLS_A_LANE * MOST_LANES):
        lanes.choose().outstanding += 1

    assert len(lanes._lanes) == MOST_LANES
    assert {lane.outstanding for lane in lanes._lanes} == {CALLS_A_LANE}


async def test_a_connection_that_has_room_again_is_used_before_another_is_made(lanes):
    for _ in range(CALLS_A_LANE + 1):
        lanes.choose().outstanding += 1
    lanes.first.outstanding -= 1

    assert lanes.choose() is lanes.first
    assert len(lanes._lanes) == 2


async def test_beyond_the_last_connection_the_one_with_the_fewest_calls_is_taken(lanes):
    for _ in range(CALLS_A_LANE * MOST_LANES):
        lanes.choose().outstanding += 1
    lanes._lanes[5].outstanding += 4
    lanes.first.outstanding += 1

    assert lanes.choose() is lanes._lanes[1]


def test_questions_about_the_pod_find_room_beside_calls():
    assert ServerOptions().max_concurrent_streams > CALLS_A_LANE
