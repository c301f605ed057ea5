"""Whoever answers may be anybody: what may a client make of an answer that makes no sense?"""

import contextlib
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import numpy as np
import pytest

from lumen_cli.bench.load import Load, probe
from lumen_cli.classify import Answered, _row
from lumen_client import AsyncClient, Classification, ClientError, ServerError
from lumen_client.answers import Embedding, Label, read_classification, read_embedding
from lumen_client.connection import Reply
from lumen_client.matrix import Callbacks, Matrix
from lumen_client.ordered import ItemAnswer
from lumen_wire.pb import ml_service_pb2 as pb

LABELS = b'{"labels":[{"label":"robin","score":0.5}],"model_id":"m"}'
SENSELESS = {
    "no JSON": (b"{", {}),
    "no object": (b"[1]", {}),
    "no number": (b'{"labels":[{"label":"a","score":"x"}],"model_id":"m"}', {}),
    "no lineages": (LABELS, {"lineage": "[["}),
    "a number of lineages": (LABELS, {"lineage": "5"}),
    "a number for a lineage": (LABELS, {"lineage": "[5]"}),
}


@pytest.mark.parametrize(("result", "meta"), SENSELESS.values(), ids=SENSELESS.keys())
def test_labels_that_are_none_are_the_servers_error(result, meta):
    with pytest.raises(ServerError, match="cannot be read"):
        read_classification(Reply(result, "", meta))


def test_a_lineage_is_of_texts_whatever_was_sent():
    answer = read_classification(Reply(LABELS, "", {"lineage": "[[1, null]]", "source": "clip"}))

    assert answer.labels == (Label("robin", 0.5, ("1", "None")),)
    assert (answer.source, answer.model_id) == ("clip", "m")
    assert read_classification(Reply(LABELS, "", {})).labels == (Label("robin", 0.5),)


@pytest.mark.parametrize("sent", [b"abc", b"", np.full(2, np.nan, "<f4").tobytes()])
def test_vectors_that_are_none_are_the_servers_error(sent):
    with pytest.raises(ServerError, match="cannot be read"):
        read_embedding(Reply(sent, "", {}))


@pytest.mark.parametrize("other", [Embedding(np.zeros(3)), Embedding(np.zeros(2), "", "other")])
def test_vectors_of_two_spaces_never_make_one_array(other):
    matrix = Matrix(Callbacks())
    matrix.take(ItemAnswer(0, "a", Embedding(np.zeros(2))))

    with pytest.raises(ServerError, match="cannot be compared"):
        matrix.take(ItemAnswer(1, "b", other))


@pytest.mark.parametrize("said", ["", "x", "\x1b[31m", "nan", "inf", "-inf", "1e999"])
def test_a_number_that_is_none_leaves_its_column_empty(said, tmp_path):
    answer = Classification((), "m", "", {"scene_score": said, "lat_ms": said})

    row = _row(Answered(tmp_path, answer, "", 12.0))

    assert (row["scene_share"], row["ms"]) == (None, 12.0)


class AnswersWith(grpc.GenericRpcHandler):
    """A server that answers every call with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def service(self, details):
        async def handle(requests, context):
            async for _ in requests:
                yield self._answer

        return grpc.stream_stream_rpc_method_handler(handle)


@contextlib.asynccontextmanager
async def a_port_that_answers(answer: bytes) -> AsyncIterator[int]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((AnswersWith(answer),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


async def test_bytes_that_are_no_answer_are_the_servers_error():
    async with (
        a_port_that_answers(b"\xff\xff\xff") as port,
        AsyncClient(f"grpc://127.0.0.1:{port}", retries=0) as client,
    ):
        with pytest.raises(ClientError, match="not an answer"):
            await client.encode(["a boat"])
        with pytest.raises(ClientError):
            await client.capabilities()


@pytest.mark.parametrize(
    ("answer", "codes"),
    [
        (b"\xff\xff\xff", {"NO_ANSWER"}),
        (
            pb.InferResponse(error=pb.Error(detail="\x1b[2J" * 1000)).SerializeToString(),
            {"INTERNAL"},
        ),
        (b"\x1a\x03\x08\xe7\x07", {"OK", "NO_ANSWER", *grpc.StatusCode.__members__}),
    ],
)
async def test_the_load_generator_counts_codes_of_its_own_alone(answer, codes):
    async with a_port_that_answers(answer) as port:
        body = pb.InferRequest().SerializeToString()
        sample = await probe(Load(f"127.0.0.1:{port}", (body,), timeout_s=10))

    assert sample.code in codes


async def test_what_is_no_unicode_text_is_said_so_before_it_is_sent():
    async with AsyncClient("grpc://127.0.0.1:1") as client:
        with pytest.raises(ClientError, match="not Unicode text"):
            await client.encode(["caf\udce9"])
        with pytest.raises(ClientError, match="not Unicode text"):
            await client.encode(["a boat"], parameters={"rank": "\udcff"})
