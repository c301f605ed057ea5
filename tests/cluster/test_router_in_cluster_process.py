"""The router's process in a cluster, as the chart starts it: memory, drain, and what it refuses."""

import grpc.aio
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc
from router_in_cluster import a_route, an_endpoint, environment
from router_processes import a_router
from router_world import BOUND_S, JPEG, ScriptedPod
from serving_servers import INFERENCE, SERVING

from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.pb import ml_service_pb2_grpc as pb_grpc

RSS_MIB = 120
SERVICES = 50


async def is_serving(port: int) -> None:
    """Return when the router serves; fails after the bound."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        request = health_pb2.HealthCheckRequest(service=INFERENCE)
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            request, timeout=BOUND_S, wait_for_ready=True
        )
        async for answer in watch:
            if answer.status == SERVING:
                return


async def ask(channel: grpc.aio.Channel, service: str) -> pb.InferResponse:
    call = pb_grpc.InferenceStub(channel).Infer(timeout=BOUND_S, wait_for_ready=True)
    meta = {"service": service}
    await call.write(
        pb.InferRequest(task="image_embed", payload=JPEG, payload_mime="image/jpeg", meta=meta)
    )
    await call.done_writing()
    return await call.read()


async def test_an_idle_router_of_a_namespace_is_small(lab):
    async with ScriptedPod() as pod:
        for number in range(SERVICES):
            name = f"clip-{number}"
            status = {"routes": [a_route(pod.address, "external")]}
            lab.serve(name, external=pod.address, status=status)
            lab.list_pods(an_endpoint(f"198.19.0.{number + 1}"), of=f"{name}-stable")
        kubeconfig = lab.account()
        with a_router(environment(lab.namespace, kubeconfig)) as (process, ports):
            await is_serving(ports[1])
            async with grpc.aio.insecure_channel(f"127.0.0.1:{ports[0]}") as channel:
                for number in range(SERVICES):
                    answer = await ask(channel, f"clip-{number}")
                    assert not answer.HasField("error")
            used = psutil.Process(process.pid).memory_info().rss / (1 << 20)

    print(f"a router of {SERVICES} services with a pod each holds {used:.1f} MiB")
    assert used < RSS_MIB
