"""What `helm test` runs: a picture sent to every service behind the router."""

import asyncio

import grpc
import pytest
from router_scripts import refusing
from router_world import JPEG, ScriptedPod, a_service, a_world, embedding, one_service

from lumen_router.grpc_api.ask_picture import main
from lumen_wire.tasks import TaskKind


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(JPEG)
    return str(path)


async def ask(world, picture):
    """Run the program in a thread: it has a loop of its own."""
    return await asyncio.to_thread(main, [f"127.0.0.1:{world.running.ports.grpc}", picture])


async def test_every_service_that_makes_vectors_is_asked_for_the_pictures(
    tmp_path, picture, capsys
):
    clip, birds = ScriptedPod(), ScriptedPod("bioclip")
    async with a_world(tmp_path, clip, birds) as world:
        await world.routed(a_service(), a_service("birds", "bioclip"), clip=[clip], birds=[birds])
        code = await ask(world, picture)

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    # The router's own log goes to the same place here.
    assert [line[:4] for line in lines if line[0] in {"clip", "birds"}] == [
        ["clip", "clip_image_embed", "4", "numbers"],
        ["birds", "bioclip_image_embed", "4", "numbers"],
    ]
    assert [request.payload for pod in (clip, birds) for request in pod.requests] == [JPEG, JPEG]


async def doubled(request, context):
    answer = embedding()
    answer.result = answer.result.replace(b"1.0", b"2.0", 1)
    return answer


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (doubled, "length 2.000 instead of 1"),
        (refusing(grpc.StatusCode.INVALID_ARGUMENT, "not a picture"), "not a picture"),
    ],
)
async def test_a_vector_that_cannot_be_right_and_a_refusal_fail_the_test(
    tmp_path, picture, capsys, script, said
):
    async with one_service(tmp_path, ScriptedPod(script=script)) as world:
        code = await ask(world, picture)

    assert code == 1
    assert said in capsys.readouterr().out


async def test_without_a_ready_service_it_says_where_to_look(tmp_path, picture, capsys):
    async with a_world(tmp_path) as world:
        code = await ask(world, picture)

    said = capsys.readouterr().err
    assert code == 1
    assert "no service is ready yet" in said
    assert "kubectl get lms" in said


async def test_services_without_pictures_are_no_proof(tmp_path, picture, capsys):
    texts = ScriptedPod(kinds=frozenset({TaskKind.TEXT_EMBED}))
    async with one_service(tmp_path, texts) as world:
        code = await ask(world, picture)

    assert code == 1
    assert "no service makes vectors of pictures" in capsys.readouterr().err


def test_a_picture_that_is_not_there_and_a_wrong_call_are_usage_errors(tmp_path, capsys):
    assert main(["127.0.0.1:1", str(tmp_path / "none.jpg")]) == 2
    assert main([]) == 2
    assert "none.jpg: No such file" in capsys.readouterr().err
