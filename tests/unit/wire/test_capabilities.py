"""wire.md, "Capabilities": what every record says, and the one merged for the oldest clients."""

import pytest

from lumen_wire.capabilities import ServiceFacts, capability, merge
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.tasks import TaskKind, names_for

EMBED = (TaskKind.TEXT_EMBED, TaskKind.IMAGE_EMBED)


def a_record(name: str = "clip", runtime: str = "onnx", **extra: str) -> pb.Capability:
    facts = ServiceFacts(name, [f"demo-{name}"], runtime, 4, ["fp32"], extra)
    return capability(facts, names_for(name, EMBED))


def test_every_record_speaks_version_1_0_0_and_states_the_payload_limit_on_every_task():
    record = a_record()

    assert record.protocol_version == "1.0.0"
    assert [t.name for t in record.tasks] == list(names_for("clip", EMBED))
    assert {t.limits["max_payload_size"] for t in record.tasks} == {"52428800"}


def test_tasks_say_what_they_take_and_give():
    tasks = {t.name: t for t in a_record().tasks}

    assert list(tasks["embed"].input_mimes) == ["text/plain"]
    assert list(tasks["image_embed"].input_mimes) == [
        *("image/jpeg", "image/png", "image/webp", "image/avif"),
    ]
    assert tasks["embed"].output_mimes[0] == "application/json;schema=embedding_v1"
    assert tasks["image_embed"].tensor_preprocess_id == ""


def test_the_merged_record_is_lumen_with_all_tasks_and_mixed_runtimes():
    clip = a_record("clip", "onnx", batch_size="8")
    bioclip = a_record("bioclip", "torch", batch_size="4")

    merged = merge([clip, bioclip])

    assert merged.service_name == "lumen"
    assert merged.runtime == "mixed"
    assert merged.protocol_version == "1.0.0"
    assert dict(merged.extra) == {
        "batch_size": "4",
        "runtime.clip": "onnx",
        "runtime.bioclip": "torch",
    }
    assert list(merged.model_ids) == ["demo-clip", "demo-bioclip"]
    assert {t.name for t in merged.tasks} == {t.name for r in (clip, bioclip) for t in r.tasks}


def test_each_task_name_is_in_the_merged_record_once():
    names = [t.name for t in merge([a_record("clip"), a_record("bioclip")]).tasks]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("batch_size", ["many", "-1", "٣", "9" * 5000])
def test_one_runtime_is_not_mixed_and_a_batch_size_that_is_no_number_is_left_out(batch_size):
    merged = merge([a_record("clip", batch_size=batch_size), a_record("bioclip")])

    assert merged.runtime == "onnx"
    assert "batch_size" not in merged.extra
