"""The router follows a namespace on a real API server, as its own ServiceAccount."""

import asyncio
import time

import grpc
from router_in_cluster import a_cluster_world, a_route, an_endpoint
from router_world import ScriptedPod, until
from structlog.testing import capture_logs

SPACE, OTHER_SPACE = "a" * 64, "b" * 64


async def test_a_new_pod_takes_traffic_at_once_and_a_leaving_one_stops(lab):
    old, new = ScriptedPod(), ScriptedPod()
    async with a_cluster_world(lab, old, new) as world:
        await world.do(lab.serve)
        await world.listed(old)
        await world.infer("image_embed")

        written = time.monotonic()
        await world.listed(old, new)
        came_ms = (time.monotonic() - written) * 1000
        written = time.monotonic()
        await world.do(lab.list_pods, lab.endpoint(old, leaving=True), new)
        await world.reaches(new)
        went_ms = (time.monotonic() - written) * 1000
        asked = len(old.requests)
        for _ in range(20):
            await world.infer("image_embed")

    print(
        f"a new pod takes traffic after {came_ms:.0f} ms, a leaving one stops in {went_ms:.0f} ms"
    )
    assert (len(old.requests), len(new.requests)) == (asked, 20)


async def test_a_pod_gets_no_call_before_it_is_ready(lab):
    async with a_cluster_world(lab, ScriptedPod(), ScriptedPod()) as world:
        ready, slow = ScriptedPod(), ScriptedPod()
        async with ready, slow:
            await world.do(lab.serve)
            await world.do(lab.list_pods, ready, lab.endpoint(slow, ready=False))
            await world.reaches(ready)
            assert slow.learnt == 0

            await world.listed(ready, slow)


async def test_a_call_in_flight_on_a_leaving_pod_is_answered(lab):
    asked, let_go = asyncio.Event(), asyncio.Event()

    async def slowly(request, context):
        asked.set()
        await let_go.wait()
        return await pod.answer(request, context)

    pod = ScriptedPod(script=slowly)
    async with a_cluster_world(lab, pod) as world:
        await world.do(lab.serve)
        await world.listed(pod)
        call = asyncio.create_task(world.infer("image_embed"))
        await asked.wait()
        await world.do(lab.list_pods)
        await world.reaches()
        let_go.set()

        assert (await call).meta["dim"] == "4"


async def test_the_only_pod_gets_the_calls_while_it_leaves_until_its_successor_is_ready(lab):
    old, new = ScriptedPod(), ScriptedPod()
    async with a_cluster_world(lab, old, new) as world:
        await world.do(lab.serve)
        leaving = lab.endpoint(old, leaving=True)
        await world.do(lab.list_pods, leaving)
        await world.reaches(old)
        await world.infer("image_embed")
        await world.do(lab.list_pods, leaving, new)
        await world.reaches(new)
        await world.infer("image_embed")

    assert (len(old.requests), len(new.requests)) == (1, 1)


async def test_services_come_and_go_with_their_names_and_aliases(lab):
    first, second = ScriptedPod(), ScriptedPod(space="space-2")
    async with a_cluster_world(lab, first, second) as world:
        await world.do(lab.serve)
        await world.do(lab.list_pods, first)
        await world.do(lab.serve, "quick", aliases=["fast"])
        await world.do(lab.list_pods, second, of="quick-stable")
        await world.reaches(first, second)

        await world.infer("image_embed", service="fast")
        assert len(second.requests) == 1
        advertised = [record.service_name for record in await world.records()]
        assert advertised == ["clip", "quick", "smart"]

        await world.do(lab.remove, "clip")
        await until(lambda: world.names == ["quick"])
        await world.infer("image_embed")
        assert len(second.requests) == 2
        error = await world.refusal("image_embed", service="gone")

    assert (error.code(), "fast" in error.details()) == (grpc.StatusCode.NOT_FOUND, True)


async def test_the_default_moves_with_the_spec(lab):
    first, second = ScriptedPod(), ScriptedPod(space="space-2")
    async with a_cluster_world(lab, first, second) as world:
        await world.do(lab.serve)
        await world.do(lab.list_pods, first)
        await world.do(lab.serve, "quick", default=True)
        await world.do(lab.list_pods, second, of="quick-stable")
        await world.reaches(first, second)
        await until(lambda: world.directory.routes.find("clip").name == "clip")

        await world.infer("image_embed")

    assert (len(first.requests), len(second.requests)) == (0, 1)


async def test_calls_move_to_another_variant_when_the_weights_do(lab):
    stable, fresh = ScriptedPod(), ScriptedPod()
    async with a_cluster_world(lab, stable, fresh) as world:
        status = {"routes": [a_route("clip-stable"), a_route("clip-next", "next", 0)]}
        await world.do(lab.serve, status=status)
        await world.do(lab.list_pods, stable)
        await world.do(lab.list_pods, fresh, of="clip-next")
        await world.reaches(stable, fresh)
        for _ in range(20):
            await world.infer("image_embed")
        assert (len(stable.requests), len(fresh.requests)) == (20, 0)

        status = {"routes": [a_route("clip-stable", weight=50), a_route("clip-next", "next", 50)]}
        await world.do(lab.say, "clip", status)
        await until(lambda: weights(world) == [50, 50])
        for _ in range(200):
            await world.infer("image_embed")
        shared = len(fresh.requests)

        status = {"routes": [a_route("clip-stable", weight=0), a_route("clip-next", "next")]}
        await world.do(lab.say, "clip", status)
        await until(lambda: weights(world) == [0, 100])
        before = len(stable.requests)
        for _ in range(20):
            await world.infer("image_embed")

    print(f"weights 50:50 sent {shared} of 200 calls to the second variant")
    # Seven standard deviations of a fair coin.
    assert 50 < shared < 150
    assert len(stable.requests) == before


def weights(world) -> list[int]:
    return [route.weight for route in world.directory.routes.services[0].routes]


async def test_a_pod_of_another_space_gets_no_embeddings_but_does_all_else(lab):
    right, wrong = ScriptedPod(space=SPACE), ScriptedPod(space=OTHER_SPACE)
    async with a_cluster_world(lab, right, wrong) as world:
        status = {"embeddingSpace": SPACE, "routes": [a_route("clip-stable", space=SPACE)]}
        await world.do(lab.serve, status=status)
        await world.listed(right, wrong)
        for _ in range(30):
            await world.infer("image_embed")
        assert wrong.requests == []
        for _ in range(30):
            await world.infer("classify")
        assert wrong.requests != []

        # The operator lets the other space in: all pods switch at once.
        status = {"embeddingSpace": OTHER_SPACE, "routes": [a_route("clip-stable", space="")]}
        await world.do(lab.say, "clip", status)
        await until(lambda: world.directory.routes.services[0].embedding_space == OTHER_SPACE)
        before = len(right.requests)
        for _ in range(30):
            await world.infer("image_embed")

    assert len(right.requests) == before


async def test_an_external_service_is_reached_by_the_address_that_the_operator_accepted(lab):
    board = ScriptedPod()
    async with a_cluster_world(lab, board) as world:
        status = {"routes": [a_route(board.address, "external")]}
        await world.do(lab.serve, external="board.lan:50051", status=status)
        await world.reaches(board)

        await world.infer("image_embed")

    assert len(board.requests) == 1


async def test_what_the_operator_says_is_wrong_reaches_the_caller_at_once(lab):
    async with a_cluster_world(lab, ScriptedPod()) as world:
        condition = {
            "type": "Ready",
            "status": "False",
            "reason": "ChecksumMismatch",
            "message": "vision.onnx is not what the manifest locks: fetch it again",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        status = {"reason": "ChecksumMismatch", "conditions": [condition], "routes": []}
        await world.do(lab.serve, status=status)
        await until(lambda: world.names == ["clip"])
        await until(lambda: world.directory.routes.services[0].reason == "ChecksumMismatch")

        error = await world.refusal("image_embed")

    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "vision.onnx is not what the manifest locks" in error.details()


async def test_a_router_that_may_not_read_says_what_to_grant_and_goes_on_once_it_may(lab):
    pod = ScriptedPod()
    kubeconfig = await asyncio.to_thread(lab.account, may_read=False)
    with capture_logs() as logs:
        async with a_cluster_world(lab, pod, kubeconfig=kubeconfig) as world:
            await world.do(lab.serve)
            await world.do(lab.list_pods, pod)
            await until(lambda: len(said(logs)) == 2, "said once for each kind of object")
            error = await world.refusal("image_embed")
            await world.do(lab.let_read)
            await world.reaches(pod)
            await world.infer("image_embed")

    assert error.code() is grpc.StatusCode.UNAVAILABLE
    told = [why.partition("get, list and watch ")[2].split()[0] for why in said(logs)]
    assert sorted(told) == ["endpointslices.discovery.k8s.io", "lumenmodelservices.lumen.dev"]


def said(logs) -> list[str]:
    return [one["why"] for one in logs if one["event"] == "cluster not readable"]


async def test_the_account_may_read_nothing_else(lab):
    kubeconfig = await asyncio.to_thread(lab.account)

    granted = lab.cluster.kubectl(
        "auth", "can-i", "--list", f"--kubeconfig={kubeconfig}", "-n", lab.namespace
    )

    own = [line.split()[0] for line in granted.splitlines() if "[get list watch]" in line]
    assert sorted(own) == ["endpointslices.discovery.k8s.io", "lumenmodelservices.lumen.dev"]


async def test_a_burst_of_changes_ends_in_the_last_one_and_costs_few_buildings(lab):
    pod = ScriptedPod()
    async with a_cluster_world(lab, pod) as world:
        await world.do(lab.serve)
        await world.listed(pod)
        before = world.metric("lumen_router_routes_built_total")

        def storm() -> None:
            for count in range(300):
                lab.list_pods(pod, an_endpoint(f"198.19.0.{count % 250 + 1}"))
            lab.list_pods(pod)

        started = time.monotonic()
        await world.do(storm)
        await until(lambda: len(world.directory.routes.services[0].routes[0].endpoints) == 1)
        took_s = time.monotonic() - started
        built = world.metric("lumen_router_routes_built_total") - before

    print(f"301 changes in {took_s:.1f} s made {built:.0f} buildings of the routes")
    assert built <= took_s / 0.05 + 2
