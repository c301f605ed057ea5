"""Servers of models that embed one modality, or have both in one file: what they answer."""

import json
import struct

import grpc
import pytest
import serving_servers
import tiny_models
from google.protobuf.empty_pb2 import Empty

from lumen_manifest.spec.enums import Family, Runtime
from lumen_manifest.spec.model_spec import ScenesSpec
from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.pb import ml_service_pb2_grpc as pb_grpc
from lumen_wire.tasks import TaskKind, names_for

# No layout of today leaves a tower out, so the model is narrowed once its files are verified; no
# path is left that would say what it embeds.
NARROWED = """
import sys
from dataclasses import replace
from lumen_serving import main
from lumen_serving.startup import load
from lumen_terms.modality import Modality

opened = load.open_verified
only = Modality(sys.argv[1])

def narrowed(*told):
    model = opened(*told)
    files = replace(model.files, vision=None, text=None)
    return replace(model, files=files, modalities=frozenset({only}))

load.open_verified = narrowed
main.main()
"""
KINDS = {
    "image": TaskKind.IMAGE_EMBED,
    "text": TaskKind.TEXT_EMBED,
    "labels": TaskKind.CLASSIFY,
    "scenes": TaskKind.SCENE_CLASSIFY,
}
TASKS = {name: set(names_for(Family.CLIP, [kind])) for name, kind in KINDS.items()}
UNSERVED = {
    "image": ["tiny-clip embeds pictures alone: spec.scenes need the text tower too."],
    "text": ["tiny-clip embeds texts alone: spec.scenes and spec.labelSets classify nothing."],
}


def in_one_file(folder):
    """A model whose towers are both in one checkpoint, as torch has them."""
    root = tiny_models.write_model(folder)
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    weights = struct.pack("<Q", len(header)) + header + bytes(4)
    (root / "model.safetensors").write_bytes(weights)
    spec = tiny_models.TinyModel()
    datasets = json.loads((root / "model_info.json").read_text())["datasets"]
    tiny_models.write_model_info(root, spec, datasets, None)
    info = json.loads((root / "model_info.json").read_text())
    files = ["model.safetensors", "tokenizer.json"]
    info["runtimes"]["torch"] = {"available": True, "files": files}
    (root / "model_info.json").write_text(json.dumps(info))
    return root


@pytest.mark.parametrize(
    ("only", "label_sets", "offered"),
    [
        ("image", ["tiny-classes"], {"image", "labels"}),
        ("text", ["tiny-classes"], {"text"}),
        (None, ["tiny-classes"], set(TASKS)),
        (None, [], {"image", "text", "scenes"}),
    ],
    ids=["images only", "texts only", "both in one file", "no label sets"],
)
def test_a_server_answers_what_its_model_embeds_and_refuses_the_rest(
    tmp_path, only, label_sets, offered
):
    root = in_one_file(tmp_path)
    config = serving_servers.a_config(root, label_sets=[{"name": name} for name in label_sets])
    if only is not None:
        config = config.model_copy(update={"scenes": ScenesSpec()})
    else:
        torch = config.model.model_copy(update={"runtime": Runtime.TORCH})
        config = config.model_copy(update={"model": torch})
    program = ("-c", NARROWED, only) if only else ("-m", "lumen_serving")
    env = {"LUMEN_BACKEND": "fake"}
    with serving_servers.a_server(config, tmp_path, env, program=program) as server:
        server.wait_for_health()
        stub = pb_grpc.InferenceStub(server.channel())
        names = {task.name for task in stub.GetCapabilities(Empty()).tasks}
        said = {kind: outcome_of(stub, min(TASKS[kind])) for kind in TASKS}
        status = server.status()

    assert names == set().union(*(TASKS[kind] for kind in offered))
    assert said == {
        kind: "OK" if kind in offered else f"INVALID_ARGUMENT: Unknown task: {min(names)}"
        for kind, names in TASKS.items()
    }
    assert set(status["batches"]) == offered & {"image", "text"}
    assert status["warnings"] == UNSERVED.get(only, [])


def outcome_of(stub, task) -> str:
    """OK, or the status and the sentence of a refusal."""
    payload = b"a cat" if task in TASKS["text"] else tiny_models.a_jpeg()
    request = pb.InferRequest(task=task, payload=payload, meta={"error_mode": "status"})
    try:
        (answer,) = stub.Infer(iter([request]), timeout=30)
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
    assert not answer.HasField("error"), answer.error
    return "OK"
