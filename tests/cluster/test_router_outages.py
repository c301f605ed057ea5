"""What the router does while the API server is stopped, hangs, or has forgotten its history."""

import httpx
import pytest
from controlplane.cluster import unique_name
from controlplane.plane import CRDS
from router_in_cluster import Lab, a_cluster_world
from router_world import ScriptedPod, until
from structlog.testing import capture_logs

WATCHED = ("lumenmodelservices", "endpointslices")


@pytest.fixture
def lab(private_control_plane) -> Lab:
    name = unique_name("lab")
    private_control_plane.create_namespace(name)
    return Lab(private_control_plane, name)


def watches_up(world) -> list[float]:
    return [world.metric("lumen_router_watch_up", resource=one) for one in WATCHED]


def watches_expired(world) -> list[float]:
    name = "lumen_router_watch_ends_total"
    return [world.metric(name, resource=one, end="expired") for one in WATCHED]


def compact_etcd(plane) -> None:
    """Make etcd forget all but the present state of everything."""
    command = plane._programs["etcd"]._command
    url = next(word for word in command if word.startswith("--listen-client-urls=")).split("=")[1]
    state = httpx.post(f"{url}/v3/kv/range", json={"key": "AA=="}).raise_for_status().json()
    told = {"revision": state["header"]["revision"], "physical": True}
    httpx.post(f"{url}/v3/kv/compaction", json=told).raise_for_status()


async def test_calls_go_on_while_the_server_is_stopped_and_it_is_said_once(
    lab, private_control_plane
):
    pod, fresh = ScriptedPod(), ScriptedPod()
    with capture_logs() as logs:
        async with a_cluster_world(lab, pod, fresh) as world:
            await world.do(lab.serve)
            await world.listed(pod)

            await world.do(private_control_plane.stop_api_server)
            await until(lambda: watches_up(world) == [0, 0])
            for _ in range(20):
                await world.infer("image_embed")
            await world.do(private_control_plane.start_api_server)
            await world.listed(pod, fresh)
            await until(lambda: watches_up(world) == [1, 1])

    # A server that starts slowly may refuse for so long that this is said as well.
    said = [one for one in logs if one["event"] == "cluster not readable"]
    assert sorted(one["resource"] for one in said if ": 403 " not in one["why"]) == sorted(WATCHED)
    assert [one["event"] for one in logs].count("cluster readable again") == 2
    assert len(pod.requests) == 20


async def test_calls_go_on_while_the_server_hangs_and_its_silence_is_noticed(
    lab, private_control_plane
):
    pod, fresh = ScriptedPod(), ScriptedPod()
    async with a_cluster_world(lab, pod, fresh, silence_s=2.0) as world:
        await world.do(lab.serve)
        await world.listed(pod)

        await world.do(private_control_plane.pause_api_server)
        try:
            await until(lambda: watches_up(world) == [0, 0])
            for _ in range(20):
                await world.infer("image_embed")
        finally:
            await world.do(private_control_plane.resume_api_server)
        await world.listed(fresh)

    assert len(pod.requests) == 20


async def test_history_that_was_compacted_away_is_listed_anew(lab, private_control_plane):
    pod, fresh = ScriptedPod(), ScriptedPod()
    async with a_cluster_world(lab, pod, fresh) as world:
        await world.do(lab.serve)
        await world.do(lab.serve, "short-lived", family="bioclip")
        await world.listed(pod)
        await until(lambda: len(world.names) == 2)

        await world.do(private_control_plane.stop_api_server)
        await until(lambda: watches_up(world) == [0, 0])
        await world.do(compact_etcd, private_control_plane)
        await world.do(private_control_plane.start_api_server)
        await world.do(lab.remove, "short-lived")
        await world.listed(fresh)
        await until(lambda: world.names == ["clip"])

        assert max(watches_expired(world)) >= 1


async def test_a_router_that_starts_while_the_server_is_stopped_serves_once_it_is_back(
    lab, private_control_plane
):
    async with ScriptedPod() as pod:
        kubeconfig = lab.account()
        lab.serve()
        lab.list_pods(pod)
        private_control_plane.stop_api_server()
        async with a_cluster_world(lab, kubeconfig=kubeconfig) as world:
            error = await world.refusal("image_embed")
            await world.do(private_control_plane.start_api_server)
            await world.reaches(pod)
            await world.infer("image_embed")

    assert "no routes are known yet" in error.details()


async def test_a_cluster_without_our_crds_is_followed_once_they_are_installed(
    lab, private_control_plane
):
    pod, crd = ScriptedPod(), "crd/lumenmodelservices.lumen.dev"
    with capture_logs() as logs:
        async with a_cluster_world(lab, pod) as world:
            await world.do(lab.serve)
            await world.do(lab.serve, "gone")
            await until(lambda: world.names == ["clip", "gone"])
            await world.do(private_control_plane.kubectl, "delete", crd)
            await until(lambda: remedies(logs), "the missing CRD is noticed")
            await world.do(private_control_plane.kubectl, "apply", "--server-side", "-f", str(CRDS))
            await world.do(
                private_control_plane.kubectl, "wait", "--for=condition=Established", crd
            )
            await world.do(lab.serve)
            await world.listed(pod)
            await until(lambda: world.names == ["clip"])

    assert len(remedies(logs)) == 1


def remedies(logs) -> list[str]:
    return [one["why"] for one in logs if "kubectl apply -f crds/" in one.get("why", "")]
