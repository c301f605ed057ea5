"""What is found inside files, said in errors and written at the end."""

import errno
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_sources import an_info
from onnx import TensorProto, helper, numpy_helper
from tiny_models import TinyModel, text_graph, vision_graph

from lumen_manifest.conditions import OUTCOMES, ConditionType, Reason
from lumen_process.settings import SettingsError
from lumen_resources import errors, termination
from lumen_resources.errors import (
    REASONS,
    ResourceError,
    ResourceValidationError,
    StoppedError,
    from_os_error,
)
from lumen_resources.model.contents import (
    check_graphs,
    check_safetensors,
    check_weights,
    rows_to_sample,
)
from lumen_resources.model.layouts import ChosenFiles, Preprocess
from lumen_resources.model.lock_file import canonical_json, digest_of, overall
from lumen_resources.model.model_info import FileDigest, Metadata
from lumen_resources.model.onnx_graph import FLOAT, INSIDE, INT64, Message, Value, read_graph
from lumen_resources.progress import FetchPhase, Progress
from lumen_resources.settings import ResourcesSettings
from lumen_wire.varint import varint


def every_kind(base: type = ResourceError):
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
            yield from every_kind(kind)


def test_every_error_has_a_reason_of_the_condition_it_becomes():
    allowed = {*OUTCOMES[ConditionType.RESOURCES_READY].otherwise, Reason.INVALID_SPEC}

    for kind in every_kind():
        error = kind("what was found.", remedy="What to do.")
        assert error.reason in allowed
        assert str(error) == "what was found. What to do."


def test_the_table_names_no_error_that_is_gone():
    assert set(REASONS) <= set(every_kind())


@pytest.mark.parametrize(
    ("number", "doing", "reason"),
    [
        (errno.ENOSPC, "writing", "DiskFull"),
        (errno.EDQUOT, "writing", "DiskFull"),
        (errno.EFBIG, "writing", "DiskFull"),
        (errno.EACCES, "writing", "PermissionDenied"),
        (errno.EROFS, "writing", "PermissionDenied"),
        (errno.ENOENT, "writing", "PermissionDenied"),
        (errno.ENOENT, "reading", "FileMissing"),
        (errno.EIO, "writing", "FilesInvalid"),
    ],
)
def test_what_the_file_system_says_becomes_a_named_error(number, doing, reason):
    error = from_os_error(OSError(number, "said"), "/cache/x", doing)

    assert (error.reason, error.file) == (reason, "/cache/x")
    assert "/cache/x" in error.message


def test_a_success_line_has_what_the_operator_records():
    facts = {"revision": "r", "digest": "d", "embedding_space": "s", "bytes": 12, "file_count": 3}
    line = {
        "reason": "Verified",
        "revision": "r",
        "digest": "d",
        "embeddingSpace": "s",
        "bytes": 12,
        "files": 3,
    }
    sets, too_many = "birds=" + "a" * 40, " ".join(f"set{n}={'a' * 40}" for n in range(100))
    for terms, commits, said in (
        (None, "", {}),
        ("\x1b[2Jmit", "", {}),
        (" apple-amlr\n", "", {"license": "apple-amlr"}),
        (None, sets, {"labelSets": sets}),
        (None, too_many, {}),
    ):
        info = an_info().model_copy(update={"metadata": Metadata(license=terms)})
        model = SimpleNamespace(**facts, info=info, label_revisions=commits)
        assert json.loads(termination.success_line(model)) == line | said


@given(st.text(max_size=6000), st.text(max_size=6000), st.text(max_size=3000))
def test_a_failure_line_fits_and_is_json_whatever_it_says(message, remedy, file):
    line = termination.failure_line(StoppedError(message, remedy=remedy, file=file))

    assert len(line) <= 4096
    assert json.loads(line)["reason"] == "Unknown"


@pytest.mark.parametrize("text", ["caf\udce9", "\x1b[2J" * 5000, "\u202e" * 5000])
def test_last_words_are_one_bounded_line_that_a_terminal_only_shows(text):
    line = termination.failure_line(ResourceValidationError(text, remedy="", file=text))

    assert len(line) <= termination.MAX_BYTES
    assert line.decode().removesuffix("\n").isprintable()
    assert json.loads(line)["reason"] == "FilesInvalid"


def test_a_termination_log_that_cannot_be_written_is_no_failure(tmp_path):
    termination.write(tmp_path / "absent" / "log", b"{}")


def test_a_graph_gives_its_inputs_and_outputs_without_its_weights(tmp_path):
    onnx.save(vision_graph(TinyModel()), tmp_path / "v.onnx")
    onnx.save(text_graph(TinyModel()), tmp_path / "t.onnx")

    vision, text = read_graph(tmp_path / "v.onnx"), read_graph(tmp_path / "t.onnx")

    assert vision.inputs == [Value("pixel_values", FLOAT, (None, 3, 32, 32))]
    assert vision.outputs == [Value("image_embeds", FLOAT, (None, 32))]
    assert text.inputs == [Value("input_ids", INT64, (None, 24))]


def test_weights_listed_as_inputs_are_left_out_and_files_beside_are_told(tmp_path):
    weight = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    inputs = [helper.make_tensor_value_info(n, FLOAT, [2, 2]) for n in ("x", "w")]
    output = helper.make_tensor_value_info("y", FLOAT, [2, 2])
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = helper.make_model(helper.make_graph([node], "g", inputs, [output], [weight]))
    beside = {"save_as_external_data": True, "location": "m.onnx.data", "size_threshold": 0}
    onnx.save(model, tmp_path / "m.onnx", **beside)

    graph = read_graph(tmp_path / "m.onnx")

    assert [value.name for value in graph.inputs] == ["x"]
    assert graph.external_files == {"m.onnx.data"}


def a_weight(*locations: str) -> TensorProto:
    """A tensor whose values are said to lie in files."""
    tensor = TensorProto(name="w", dims=[2], data_type=FLOAT, data_location=TensorProto.EXTERNAL)
    for location in locations:
        tensor.external_data.add(key="location", value=location)
    return tensor


def a_graph(*nodes: onnx.NodeProto, **parts: object) -> onnx.GraphProto:
    """A graph of no use beyond what it holds."""
    x, y = (helper.make_tensor_value_info(name, FLOAT, [2]) for name in "xy")
    return helper.make_graph(
        nodes or [helper.make_node("Neg", ["x"], ["y"])], "g", [x], [y], **parts
    )


def a_constant(*locations: str) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["c"], value=a_weight(*locations))


def sparse(**parts: TensorProto) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(dims=[4], **parts)


def a_model(graph: onnx.GraphProto | None = None, **parts: object) -> onnx.ModelProto:
    return helper.make_model(graph or a_graph(), **parts)


def with_attribute(**value: object) -> onnx.ModelProto:
    """A model whose one node has an attribute of this value."""
    return a_model(a_graph(onnx.NodeProto(attribute=[onnx.AttributeProto(name="a", **value)])))


def with_training(**graphs: onnx.GraphProto) -> onnx.ModelProto:
    model = a_model()
    model.training_info.append(onnx.TrainingInfoProto(**graphs))
    return model


def with_function(**parts: object) -> onnx.ModelProto:
    return a_model(functions=[onnx.FunctionProto(name="f", domain="d", **parts)])


EVIL = a_weight("evil")
EVIL_GRAPH = a_graph(a_constant("evil"))
PLACES = {
    "initializer": a_model(a_graph(initializer=[EVIL])),
    "constant": a_model(EVIL_GRAPH),
    "list of tensors": with_attribute(tensors=[a_weight(), EVIL]),
    "branch": with_attribute(g=EVIL_GRAPH),
    "loop in a branch": with_attribute(
        g=a_graph(helper.make_node("Loop", ["x"], ["y"], body=EVIL_GRAPH))
    ),
    "list of graphs": with_attribute(graphs=[a_graph(), EVIL_GRAPH]),
    "function": with_function(node=[a_constant("evil")]),
    "default of a function": with_function(attribute_proto=[onnx.AttributeProto(name="a", t=EVIL)]),
    "sparse values": a_model(a_graph(sparse_initializer=[sparse(values=EVIL, indices=a_weight())])),
    "sparse indices": a_model(
        a_graph(sparse_initializer=[sparse(values=a_weight(), indices=EVIL)])
    ),
    "sparse attribute": with_attribute(sparse_tensor=sparse(values=EVIL)),
    "sparse attributes": with_attribute(sparse_tensors=[sparse(values=EVIL)]),
    "training": with_training(algorithm=EVIL_GRAPH),
    "first step of training": with_training(initialization=a_graph(initializer=[EVIL])),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_file_is_found_wherever_in_a_graph_it_is_named(tmp_path, place):
    (tmp_path / "m.onnx").write_bytes(PLACES[place].SerializeToString())

    assert read_graph(tmp_path / "m.onnx").external_files == {"evil"}


def test_of_two_locations_both_are_found(tmp_path):
    model = a_model(a_graph(a_constant("m.onnx.data", "../evil")))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())

    assert read_graph(tmp_path / "m.onnx").external_files == {"m.onnx.data", "../evil"}


def test_the_messages_that_are_walked_are_all_through_which_a_tensor_can_be_reached():
    walked = {
        "ModelProto": Message.MODEL,
        "TrainingInfoProto": Message.TRAINING,
        "FunctionProto": Message.FUNCTION,
        "GraphProto": Message.GRAPH,
        "NodeProto": Message.NODE,
        "AttributeProto": Message.ATTRIBUTE,
        "SparseTensorProto": Message.SPARSE,
        "TensorProto": Message.TENSOR,
    }
    messages = onnx.ModelProto.DESCRIPTOR.file.message_types_by_name

    for name, message in walked.items():
        expected = {
            field.number: walked[field.message_type.name]
            for field in messages[name].fields
            if field.message_type is not None and field.message_type.name in walked
        }
        assert expected == INSIDE[message]
    # Any other message leads to no tensor, and so to no file.
    for name in messages.keys() - walked.keys():
        inner = {f.message_type.name for f in messages[name].fields if f.message_type is not None}
        assert not inner & walked.keys()


def test_a_graph_that_is_nested_without_end_is_refused(tmp_path):
    def inside(field: int, body: bytes) -> bytes:
        return varint(field << 3 | 2) + varint(len(body)) + body

    body = b""
    for _ in range(40):
        body = inside(1, inside(5, inside(6, body)))
    (tmp_path / "m.onnx").write_bytes(inside(7, body))

    with pytest.raises(ResourceValidationError, match="nested more than 100 deep"):
        read_graph(tmp_path / "m.onnx")


def test_a_graph_that_was_compiled_for_a_device_is_refused(tmp_path):
    node = helper.make_node("EPContext", ["x"], ["y"], ep_cache_context="../evil", embed_mode=0)
    (tmp_path / "m.onnx").write_bytes(a_model(a_graph(node)).SerializeToString())

    with pytest.raises(ResourceValidationError, match="EPContext"):
        read_graph(tmp_path / "m.onnx")


@pytest.mark.parametrize("key", [b"\xba\x80\x80\x80\x80\x01", b"\x02\x00", b"\x00\x00"])
def test_a_field_that_parsers_read_differently_is_refused(tmp_path, key):
    content = vision_graph(TinyModel()).SerializeToString()
    (tmp_path / "m.onnx").write_bytes(content + key)

    with pytest.raises(ResourceValidationError, match="a field's key"):
        read_graph(tmp_path / "m.onnx")


@given(st.binary(max_size=400))
def test_bytes_that_are_no_graph_are_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("graph") / "g.onnx"
    path.write_bytes(content)

    with pytest.raises(ResourceValidationError):
        read_graph(path)


def test_a_graph_that_is_cut_short_is_refused(tmp_path):
    content = vision_graph(TinyModel()).SerializeToString()
    (tmp_path / "g.onnx").write_bytes(content[: len(content) // 2])

    with pytest.raises(ResourceValidationError, match="ends in the middle"):
        read_graph(tmp_path / "g.onnx")


def write_graph(path: Path, inputs: dict[str, tuple[int, list[Any]]], *outputs: list[Any]) -> None:
    """A graph of these inputs and outputs, and nothing in between."""
    takes = [helper.make_tensor_value_info(n, t, s) for n, (t, s) in inputs.items()]
    gives = [
        helper.make_tensor_value_info(f"out{n}", TensorProto.FLOAT, shape)
        for n, shape in enumerate(outputs)
    ]
    onnx.save(helper.make_model(helper.make_graph([], "g", takes, gives)), path)


PREPROCESS = Preprocess(32, "squash", "bicubic", (0.5,) * 3, (0.5,) * 3)
PIXELS = {"image": (TensorProto.FLOAT, [1, 3, 32, 32])}
IDS = {"text": (TensorProto.INT32, [1, 24])}


@pytest.mark.parametrize(
    ("pixels", "tokens"),
    [
        (PIXELS, IDS),
        ({"pixel_values": (TensorProto.FLOAT16, ["n", "c", "h", "w"])}, IDS),
        ({"image": (TensorProto.UINT8, [1, 3, 32, 32])}, IDS),
        ({"image": (TensorProto.UINT8, [1, 32, 32, 3])}, IDS),
        (PIXELS, {"ids": (TensorProto.INT64, ["n", 24]), "mask": (TensorProto.INT64, ["n", 24])}),
    ],
)
def test_graphs_are_taken_as_their_publishers_export_them(tmp_path, pixels, tokens):
    write_graph(tmp_path / "v.onnx", pixels, ["n", 50, 48], [1, 32])
    write_graph(tmp_path / "t.onnx", tokens, [1, 32])

    def length(**files: str) -> int | None:
        return check_graphs(tmp_path.joinpath, ChosenFiles(**files), PREPROCESS, 32)

    assert length(vision="v.onnx", text="t.onnx") == 24
    assert length(text="t.onnx") == 24
    assert length(vision="v.onnx") is None


@pytest.mark.parametrize(
    ("pixels", "outputs"),
    [
        ({"image": (TensorProto.FLOAT, [1, 32, 32, 3])}, [[1, 32]]),
        ({"image": (TensorProto.UINT8, [1, 3, 32, 48])}, [[1, 32]]),
        ({"image": (TensorProto.INT64, [1, 3, 32, 32])}, [[1, 32]]),
        ({"image": (TensorProto.FLOAT, [3, 32, 32])}, [[1, 32]]),
        (PIXELS, [[1, 33]]),
        (PIXELS, [["n", 50, 32]]),
        ({}, [[1, 32]]),
    ],
)
def test_graphs_that_take_or_give_something_else_are_refused(tmp_path, pixels, outputs):
    write_graph(tmp_path / "v.onnx", pixels, *outputs)

    with pytest.raises(ResourceValidationError) as caught:
        check_graphs(tmp_path.joinpath, ChosenFiles(vision="v.onnx"), PREPROCESS, 32)
    assert caught.value.file == "v.onnx"


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def test_a_safetensors_file_is_judged_by_its_header(tmp_path):
    path = tmp_path / "model.safetensors"
    tensor = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    path.write_bytes(safetensors({"__metadata__": {"a": "b"}, **tensor}, bytes(8)))
    check_weights(path)

    for wrong in (
        b"",
        b"\xff" * 8,
        safetensors(tensor, bytes(7)),
        safetensors(b"nope"),
        safetensors({"w": 1}),
        safetensors([1]),
    ):
        path.write_bytes(wrong)
        with pytest.raises(ResourceValidationError):
            check_safetensors(path)


def test_a_tensor_of_more_edges_than_there_are_is_refused_at_once(tmp_path):
    # The product of these alone would take a minute.
    tensor = {"dtype": "F32", "shape": [2**63 - 1] * 100_000, "data_offsets": [0, 4]}
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors({"w": tensor}, bytes(4)))

    began_at = time.process_time()
    with pytest.raises(ResourceValidationError, match="100,000 edges"):
        check_safetensors(path)
    assert time.process_time() - began_at < 5


def test_a_checkpoint_that_is_a_web_page_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    for good in (b"PK\x03\x04", b"\x80\x02}"):
        path.write_bytes(good)
        check_weights(path)
    path.write_bytes(b"<html>")

    with pytest.raises(ResourceValidationError):
        check_weights(path)


@given(st.integers(0, 100_000))
def test_sampled_rows_are_few_and_reach_both_ends(count):
    rows = rows_to_sample(count)

    assert len(rows) <= 64
    assert rows == sorted(set(rows))
    assert not count or (rows[0], rows[-1]) == (0, count - 1)


def test_digests_are_those_of_the_standard(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    seen: list[int] = []

    found = digest_of(tmp_path / "f", seen.append)

    assert found.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (found.size, sum(seen)) == (3, 3)


def test_the_overall_digest_does_not_depend_on_order_but_on_every_part():
    a, b = FileDigest(size=1, sha256="a" * 64), FileDigest(size=1, sha256="b" * 64)

    assert overall({"x": a, "y": b}) == overall({"y": b, "x": a})
    assert len({overall({"x": a}), overall({"y": a}), overall({"x": b})}) == 3
    assert canonical_json({"b": "é", "a": [1, 2.5]}) == '{"a":[1,2.5],"b":"é"}'.encode()


def test_progress_counts_what_is_kept_but_not_in_the_rate():
    progress = Progress()
    progress.begin(FetchPhase.FETCHING, total_bytes=100, kept_bytes=40, files=2)
    before = progress.snapshot()
    assert before.as_status()["bytesDone"] == 40
    assert (before.rate_bytes_per_s, before.eta_s) == (0, None)

    progress.at("a.onnx")
    progress.add(30)
    assert progress.snapshot().file == "a.onnx"
    progress.at("b.onnx")
    assert progress.snapshot().file == "a.onnx and 1 more"
    progress.file_done("a.onnx")
    now = progress.snapshot()

    assert (now.bytes_done, now.files_done, now.file) == (70, 1, "b.onnx")
    assert now.rate_bytes_per_s > 0
    assert now.eta_s is not None


def test_settings_come_from_the_environment_and_a_wrong_port_is_named():
    settings = ResourcesSettings.from_environment(
        {"LUMEN_CACHE_DIR": "/c", "LUMEN_METRICS_PORT": "0"}
    )

    assert (settings.cache_dir, settings.metrics_port) == (Path("/c"), 0)
    assert settings.config == Path("/etc/lumen/server.json")
    with pytest.raises(SettingsError, match="LUMEN_METRICS_PORT"):
        ResourcesSettings.from_environment({"LUMEN_METRICS_PORT": "70000"})
