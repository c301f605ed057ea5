import asyncio

import pytest
import virtual_time

from lumen_operator.liveness import Liveness, queue_stands_still
from lumen_process.http_status import Unwell


def test_a_standby_is_healthy_and_ready_once_the_api_server_has_answered():
    answered = []
    liveness = Liveness(lambda: bool(answered))
    assert liveness.health() == ("text/plain", b"ok\n")
    with pytest.raises(Unwell, match="not answered"):
        liveness.readiness()
    answered.append(True)

    assert liveness.readiness() == ("text/plain", b"ok\n")


@virtual_time.story
async def test_a_loop_that_stands_still_is_unwell_and_one_that_turns_is_not():
    liveness = Liveness(lambda: True, virtual_time.clock)
    beating = asyncio.create_task(liveness.beat())
    await asyncio.sleep(3600)
    assert liveness.health()

    beating.cancel()
    await asyncio.sleep(40)
    with pytest.raises(Unwell, match="stood still for 4"):
        liveness.health()


def test_every_problem_is_named():
    liveness = Liveness(lambda: True)
    ages = [400.0]
    liveness.require(queue_stands_still(lambda: ages[0]))
    liveness.require(lambda: "the watch of pods differs from the cluster")
    with pytest.raises(Unwell) as unwell:
        liveness.health()

    assert str(unwell.value) == (
        "the queue has stood still for 400 s; the watch of pods differs from the cluster"
    )


def test_a_queue_that_is_merely_busy_is_healthy():
    liveness = Liveness(lambda: True)
    liveness.require(queue_stands_still(lambda: 250.0))

    assert liveness.health()
