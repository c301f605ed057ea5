"""wire.md: a response above 4 MiB goes out in parts; clients cut requests above 1 MiB."""

import pytest

from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.request.chunks import Assembler
from lumen_wire.request.splitting import split_request, split_response

MIB = 1024 * 1024


def a_response(size: int) -> pb.InferResponse:
    return pb.InferResponse(
        correlation_id="7",
        is_final=True,
        result=bytes(range(256)) * (size // 256) + b"x" * (size % 256),
        meta={"dim": "512"},
        result_mime="application/json;schema=labels_v1",
        result_schema="labels_v1",
    )


def test_a_response_of_up_to_4_mib_goes_out_as_it_is():
    response = a_response(4 * MIB - 1024)

    assert split_response(response) == [response]


@pytest.mark.parametrize("size", [4 * MIB, 10 * MIB + 1])
def test_parts_have_one_total_unique_seq_contiguous_offsets_and_are_final_on_the_last_alone(size):
    response = a_response(size)

    parts = split_response(response)

    assert {p.total for p in parts} == {len(parts)}
    assert [p.seq for p in parts] == list(range(len(parts)))
    assert [p.offset for p in parts] == [
        sum(len(p.result) for p in parts[:i]) for i in range(len(parts))
    ]
    assert [p.is_final for p in parts] == [False] * (len(parts) - 1) + [True]
    assert b"".join(p.result for p in parts) == response.result
    assert all(p.ByteSize() <= 4 * MIB for p in parts)
    for part in parts:
        said = (part.correlation_id, dict(part.meta), part.result_mime, part.result_schema)
        assert said == ("7", {"dim": "512"}, "application/json;schema=labels_v1", "labels_v1")


def test_a_part_of_an_unfinished_answer_is_never_final():
    response = a_response(5 * MIB)
    response.is_final = False

    assert not any(p.is_final for p in split_response(response))


def test_an_answer_without_a_result_is_not_cut():
    response = pb.InferResponse(meta={"k": "x" * 5 * MIB})

    assert split_response(response) == [response]


def test_a_request_of_up_to_1_mib_is_sent_whole_and_a_larger_one_in_parts_of_256_kib():
    small = pb.InferRequest(payload=b"x" * MIB)
    large = pb.InferRequest(
        correlation_id="7", task="clip_image_embed", payload=b"?" * (MIB + 1), meta={"topk": "2"}
    )

    assert split_request(small) == [small]
    parts = split_request(large)
    assert [len(p.payload) for p in parts] == [256 * 1024] * 4 + [1]
    assembler = Assembler()
    [request] = [o for part in parts for o in assembler.push(part)]
    assert (request.payload, request.meta) == (large.payload, {"topk": "2"})
