"""The protocol's fixed numbers, and that the committed code is what the generator writes."""

import re
from pathlib import Path

import pytest

import lumen_wire
from lumen_wire.generate import generate
from lumen_wire.pb import ml_service_pb2 as pb

FIELDS = {
    "Error": {"code": 1, "message": 2, "detail": 3},
    "IOTask": {
        "name": 1,
        "input_mimes": 2,
        "output_mimes": 3,
        "limits": 4,
        "tensor_preprocess_id": 5,
        "tensor_batching_supported": 6,
    },
    "Capability": {
        "service_name": 1,
        "model_ids": 2,
        "runtime": 3,
        "max_concurrency": 4,
        "precisions": 5,
        "extra": 6,
        "tasks": 7,
        "protocol_version": 8,
    },
    "InferRequest": {
        "correlation_id": 1,
        "task": 2,
        "payload": 3,
        "meta": 4,
        "payload_mime": 5,
        "seq": 6,
        "total": 7,
        "offset": 8,
    },
    "InferResponse": {
        "correlation_id": 1,
        "is_final": 2,
        "result": 3,
        "meta": 4,
        "error": 5,
        "seq": 6,
        "total": 7,
        "offset": 8,
        "result_mime": 9,
        "result_schema": 10,
    },
}
TYPES = {"payload": "bytes", "result": "bytes", "seq": "uint64", "max_concurrency": "uint32"}
# protoc's own versions, which stand in what it writes.
VERSIONS = re.compile(
    r"Protobuf Python Version: .*|GRPC_GENERATED_VERSION = .*|^    \d+,$", re.MULTILINE
)


@pytest.mark.parametrize("message", sorted(FIELDS))
def test_field_numbers_are_those_that_clients_were_built_with(message):
    fields = pb.DESCRIPTOR.message_types_by_name[message].fields

    assert {f.name: f.number for f in fields} == FIELDS[message]


def test_field_types_are_those_that_clients_were_built_with():
    sources = Path(lumen_wire.__file__).parents[2] / "proto/home_native/v1/ml_service.proto"
    text = sources.read_text()

    for name, kind in TYPES.items():
        assert re.search(rf"^  {kind} {name} = \d+;", text, re.MULTILINE)


def test_error_codes_have_their_numbers():
    assert dict(pb.ErrorCode.items()) == {
        "ERROR_CODE_UNSPECIFIED": 0,
        "ERROR_CODE_INVALID_ARGUMENT": 1,
        "ERROR_CODE_UNAVAILABLE": 2,
        "ERROR_CODE_DEADLINE_EXCEEDED": 3,
        "ERROR_CODE_INTERNAL": 4,
    }


def test_the_service_has_its_four_calls():
    service = pb.DESCRIPTOR.services_by_name["Inference"]
    empty, capability = "google.protobuf.Empty", "home_native.v1.Capability"

    assert service.full_name == "home_native.v1.Inference"
    assert {m.name: (m.input_type.full_name, m.output_type.full_name) for m in service.methods} == {
        "Infer": ("home_native.v1.InferRequest", "home_native.v1.InferResponse"),
        "GetCapabilities": (empty, capability),
        "StreamCapabilities": (empty, capability),
        "Health": (empty, empty),
    }
    assert {m.name: (m.client_streaming, m.server_streaming) for m in service.methods} == {
        "Infer": (True, True),
        "GetCapabilities": (False, False),
        "StreamCapabilities": (False, True),
        "Health": (False, False),
    }


def test_the_committed_code_is_what_the_generator_writes(tmp_path):
    committed = Path(lumen_wire.__file__).parent / "pb"

    written = generate(tmp_path)

    assert len(written) == 4
    for path in written:
        expected = VERSIONS.sub("", (committed / path.relative_to(tmp_path)).read_text())
        assert VERSIONS.sub("", path.read_text()) == expected, "run: make generate"
