import asyncio

import pytest
import virtual_time

from lumen_cluster.client import ApiRequest
from lumen_cluster.election import Election, Fenced, LeaseName
from lumen_cluster.errors import ApiUnavailable, Conflict, LeaseLost, ObjectNotFound

IN = "lumen"


class Leases:
    """The API server's part: one Lease with a resourceVersion; it can be away, or frozen."""

    def __init__(self):
        self.lease = None
        self.version = 0
        self.away = False
        self.frozen = False
        self.writes = 0

    async def ask(self, request):
        await self._answer(request)
        if self.lease is None:
            raise ObjectNotFound("no such lease", status=404)
        return self.lease

    async def call(self, request):
        await self._answer(request)
        self.writes += 1
        if request.method == "POST":
            if self.lease is not None:
                raise Conflict("exists", status=409)
        elif request.body["metadata"]["resourceVersion"] != str(self.version):
            raise Conflict("modified", status=409)
        self.version += 1
        metadata = {**request.body["metadata"], "resourceVersion": str(self.version)}
        self.lease = {**request.body, "metadata": metadata}
        return b"{}"

    async def _answer(self, request):
        if self.frozen:
            await asyncio.sleep(request.deadline_s)
            raise ApiUnavailable("no answer in time")
        await asyncio.sleep(0.01)
        if self.away:
            raise ApiUnavailable("connection refused")

    @property
    def holder(self):
        return self.lease["spec"]["holderIdentity"]


def an_election(leases, identity="a"):
    return Election(leases, LeaseName(IN, "lumen-operator", identity), virtual_time.clock)


@pytest.fixture
def leases():
    return Leases()


@pytest.fixture
def election(leases):
    return an_election(leases)


@virtual_time.story
async def test_the_first_operator_makes_the_lease_and_leads(leases, election):
    assert not election.leads()
    await election.acquire()

    assert (leases.holder, election.leads()) == ("a", True)
    assert leases.lease["spec"]["leaseDurationSeconds"] == 10


@virtual_time.story
async def test_a_second_operator_waits_as_long_as_the_first_renews(leases):
    first, second = an_election(leases), an_election(leases, "b")
    await first.acquire()
    holding = asyncio.create_task(first.hold())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(600):
            await second.acquire()

    assert first.leads()
    assert not second.leads()
    assert second.asked
    holding.cancel()


@virtual_time.story
async def test_a_leader_that_died_is_followed_within_15_seconds(leases):
    first, second = an_election(leases), an_election(leases, "b")
    await first.acquire()
    holding = asyncio.create_task(first.hold())
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(60)
    holding.cancel()
    died = virtual_time.clock()
    await waiting

    assert 8 < virtual_time.clock() - died < 15
    assert leases.holder == "b"
    assert leases.lease["spec"]["leaseTransitions"] == 2


@virtual_time.story
async def test_a_leader_that_stops_is_followed_at_its_next_look(leases):
    first, second = an_election(leases), an_election(leases, "b")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(5)
    await first.release()
    released = virtual_time.clock()
    assert not first.leads()
    await waiting

    assert virtual_time.clock() - released < 3


@virtual_time.story
async def test_a_restarted_container_of_the_same_pod_leads_at_once(leases):
    await an_election(leases).acquire()
    before = virtual_time.clock()
    await an_election(leases).acquire()

    assert virtual_time.clock() - before < 1


@pytest.mark.parametrize("trouble", ["away", "frozen"])
@virtual_time.story
async def test_a_leader_that_cannot_renew_gives_up_before_another_may_take_over(
    leases, election, trouble
):
    await election.acquire()
    setattr(leases, trouble, True)
    since = virtual_time.clock()
    with pytest.raises(LeaseLost):
        await election.hold()

    assert 6 <= virtual_time.clock() - since < 10


@virtual_time.story
async def test_a_short_absence_of_the_api_server_loses_nothing(leases, election):
    await election.acquire()
    holding = asyncio.create_task(election.hold())
    for _ in range(10):
        leases.away = True
        await asyncio.sleep(4)
        leases.away = False
        await asyncio.sleep(4)

    assert not holding.done()
    assert election.leads()
    holding.cancel()


@virtual_time.story
async def test_a_leader_that_finds_another_holder_gives_up_at_once(leases, election):
    await election.acquire()
    leases.lease["spec"]["holderIdentity"] = "thief"
    before = virtual_time.clock()
    with pytest.raises(LeaseLost, match="another"):
        await election.hold()

    assert virtual_time.clock() - before < 3


@virtual_time.story
async def test_two_operators_that_start_at_once_elect_one(leases):
    both = [an_election(leases, name) for name in "ab"]
    tasks = [asyncio.create_task(each.acquire()) for each in both]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(1)

    assert sum(each.leads() for each in both) == 1
    for task in tasks:
        task.cancel()


@virtual_time.story
async def test_a_clock_that_is_wrong_on_another_node_changes_nothing(leases):
    await an_election(leases).acquire()
    leases.lease["spec"]["renewTime"] = "1999-01-01T00:00:00.000000Z"
    second = an_election(leases, "b")
    before = virtual_time.clock()
    await second.acquire()

    assert virtual_time.clock() - before > 10


@virtual_time.story
async def test_nothing_is_released_that_another_holds(leases, election):
    await election.acquire()
    leases.lease["spec"]["holderIdentity"] = "b"
    await election.release()

    assert leases.holder == "b"


@virtual_time.story
async def test_a_lease_with_an_empty_spec_is_taken(leases):
    leases.lease = {"metadata": {"name": "lumen-operator", "resourceVersion": "0"}}
    await an_election(leases).acquire()

    assert leases.holder == "a"


@virtual_time.story
async def test_a_process_that_slept_through_its_lease_writes_nothing_more(leases, election):
    fenced = Fenced(leases, election.leads)
    await election.acquire()
    await asyncio.sleep(10.5)
    written = leases.writes
    for write in (fenced.call, fenced.ask):
        with pytest.raises(LeaseLost):
            await write(ApiRequest("PATCH", "/apis/apps/v1/x"))

    assert leases.writes == written
    assert await fenced.ask(ApiRequest("GET", "/x"))
