"""The protocol's fixed numbers, and that the committed code is what the generator writes."""

import re
from pathlib import Path

import pytest

import lumen_wire
from lumen_wire.generate import generate
from lumen_wire.pb import ml_service_pb2 as pb

# In the order of their numbers, which count from 1.
FIELDS = {
    "Error": "code message detail",
    "IOTask": "name input_mimes output_mimes limits tensor_preprocess_id tensor_batching_supported",
    "Capability": "service_name model_ids runtime max_concurrency precisions extra tasks"
    " protocol_version",
    "InferRequest": "correlation_id task payload meta payload_mime seq total offset",
    "InferResponse": "correlation_id is_final result meta error seq total offset result_mime"
    " result_schema",
}
TYPES = {"payload": "bytes", "result": "bytes", "seq": "uint64", "max_concurrency": "uint32"}
# protoc's own versions, which stand in what it writes.
VERSIONS = re.compile(
    r"Protobuf Python Version: .*|GRPC_GENERATED_VERSION = .*|^    \d+,$", re.MULTILINE
)


@pytest.mark.parametrize("message", sorted(FIELDS))
def test_field_numbers_are_those_that_clients_were_built_with(message):
    fields = pb.DESCRIPTOR.message_types_by_name[message].fields

    numbers = {name: number for number, name in enumerate(FIELDS[message].split(), 1)}
    assert {f.name: f.number for f in fields} == numbers


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
