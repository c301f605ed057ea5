"""A whole model server over real gRPC, with the fake backend: what its callers see."""

import asyncio
import contextlib
import itertools
import json

import grpc
import numpy as np
import pytest
from google.protobuf.empty_pb2 import Empty
from serving_servers import a_config, a_server
from tiny_models import CLASSES, a_jpeg

from lumen_wire.pb import ml_service_pb2 as pb
from lumen_wire.pb import ml_service_pb2_grpc as pb_grpc

CLIP_TEXT = (
    "clip_text_embed",
    "clip_embed",
    "embed",
    "semantic_text_embed",
    "smartclip_text_embed",
)
CLIP_IMAGE = (
    "clip_image_embed",
    "image_embed",
    "semantic_image_embed",
    "smartclip_image_embed",
)
CLASSIFY = ("clip_classify", "classify", "smartclip_classify")
SCENES = ("clip_scene_classify", "classify_scene", "smartclip_scene_classify")
SHOWN_SCENES = (
    "person", "animal", "vehicle", "food", "building", "nature", "object", "landscape",
)  # fmt: skip
FAKE = {"LUMEN_BACKEND": "fake"}
LABELS_MIME = "application/json;schema=labels_v1"
EMBEDDING_MIME = "application/json;schema=embedding_v1"


@contextlib.contextmanager
def ready(model, folder, **changes):
    """A server with the fake backend that has become healthy."""
    with a_server(a_config(model, **changes), folder, FAKE) as running:
        running.wait_for_health()
        yield running


@pytest.fixture(scope="module")
def server(tiny_cache, tmp_path_factory):
    sets, scenes = [{"name": "tiny-classes"}], {"preset": "oct2025"}
    folder = tmp_path_factory.mktemp("server")
    with ready(
        tiny_cache / "models" / "tiny-clip", folder, label_sets=sets, scenes=scenes
    ) as running:
        yield running


@pytest.fixture(scope="module")
def species(tiny_cache, tmp_path_factory):
    sets, folder = [{"name": "tiny-species"}], tmp_path_factory.mktemp("species")
    with ready(tiny_cache / "models" / "tiny-bioclip", folder, label_sets=sets) as running:
        yield running


def a_request(task="image_embed", payload=None, mime="", number=1, **meta):
    payload = a_jpeg() if payload is None else payload
    return pb.InferRequest(
        correlation_id=str(number), task=task, payload=payload, payload_mime=mime, meta=meta
    )


def infer(server, *requests, timeout=30):
    """Every answer of one stream that is half-closed after the requests, by correlation id."""
    stub = pb_grpc.InferenceStub(server.channel())
    answers = {}
    for answer in stub.Infer(iter(requests), timeout=timeout):
        answers[answer.correlation_id] = answer
    return answers


def infer_one(server, *args, **kwargs):
    (answer,) = infer(server, a_request(*args, **kwargs)).values()
    assert not answer.HasField("error"), answer.error
    assert answer.is_final
    return answer


def refused(server, *args, **kwargs):
    """The status that ends a stream whose only request failed, as it asked for."""
    with pytest.raises(grpc.RpcError) as error:
        infer(server, a_request(*args, error_mode="status", **kwargs))
    return error.value


def vector_of(answer):
    return np.array(json.loads(answer.result)["vector"], np.float32)


def labels_of(answer):
    return [(row["label"], row["score"]) for row in json.loads(answer.result)["labels"]]


def capability(server):
    return pb_grpc.InferenceStub(server.channel()).GetCapabilities(Empty())


def test_every_name_is_advertised_with_the_enforced_limit_and_nothing_else(server):
    record = capability(server)

    assert {task.name for task in record.tasks} == {*CLIP_TEXT, *CLIP_IMAGE, *CLASSIFY, *SCENES}
    assert {task.limits["max_payload_size"] for task in record.tasks} == {"52428800"}
    assert {task.tensor_preprocess_id for task in record.tasks} == {""}
    assert record.protocol_version == "1.0.0"
    assert list(record.model_ids) == ["tiny-clip"]
    assert (record.extra["device"], record.extra["runtime_version"]) == ("fake", "1")
    assert len(record.extra["embedding_space"]) == 64
    assert list(pb_grpc.InferenceStub(server.channel()).StreamCapabilities(Empty())) == [record]


def test_status_says_what_computes_and_what_was_measured(server):
    status = server.status()

    assert status["phase"] == "serving"
    assert (status["runtime"]["device"], status["runtime"]["driver"]) == ("fake", "")
    space = status["embeddingSpace"]
    (says,) = [name for name in server.metrics() if name.startswith("lumen_model_info{")]
    assert f'embedding_space="{space}"' in says
    assert 'device="fake",' in says
    assert status["batches"]["image"]["cap"] >= 1
    assert status["rssBytes"] > 0
    assert status["warnings"] == []


@pytest.mark.parametrize("names", [CLIP_TEXT, CLIP_IMAGE], ids=["text", "image"])
def test_all_aliases_give_the_same_unit_vector_and_model(server, names):
    payload = b"a photo of a cat" if names is CLIP_TEXT else a_jpeg(3)
    answers = [infer_one(server, name, payload) for name in names]

    assert len({answer.result for answer in answers}) == 1
    assert {answer.result_mime for answer in answers} == {EMBEDDING_MIME}
    document = json.loads(answers[0].result)
    assert sorted(document) == ["dim", "model_id", "vector"]
    assert document["model_id"] == "tiny-clip"
    assert document["dim"] == len(document["vector"]) == 32
    assert np.linalg.norm(document["vector"]) == pytest.approx(1, abs=1e-3)


def test_a_vector_may_be_asked_for_as_raw_floats(server):
    raw = infer_one(server, vector="f32le")

    assert raw.result_mime == "application/octet-stream;schema=embedding_v1"
    np.testing.assert_allclose(np.frombuffer(raw.result, "<f4"), vector_of(infer_one(server)))


def test_text_is_embedded_as_given_and_in_the_template_on_request(server):
    plain, cat = infer_one(server, "embed", b"cat"), infer_one(server, "embed", b"a photo of a cat")
    wrapped = infer_one(server, "embed", b"cat", prompt="template")

    assert wrapped.result == cat.result != plain.result


def test_a_text_beyond_the_context_is_cut_and_says_so(server):
    long = infer_one(server, "embed", b"cat dog " * 200)

    assert long.meta["truncated"] == "1"
    assert "truncated" not in infer_one(server, "embed", b"cat").meta


@pytest.mark.parametrize("names", [CLASSIFY, SCENES], ids=["classify", "scenes"])
def test_labels_are_sorted_and_their_shares_sum_to_one(server, names):
    answers = [infer_one(server, name, top_k="1000") for name in names]
    labels = labels_of(answers[0])
    scores = [score for _, score in labels]

    assert len({answer.result for answer in answers}) == 1
    assert answers[0].result_mime == LABELS_MIME
    assert answers[0].meta["labels_count"] == str(len(labels))
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-5)
    # As SceneSet shows them, without the prompt's frame.
    assert {label for label, _ in labels} == set(CLASSES if names is CLASSIFY else SHOWN_SCENES)


def test_as_many_labels_are_given_as_were_asked_for_or_are_usual_and_there(server, species):
    counts = {
        "classify": len(labels_of(infer_one(server, "classify"))),
        "classify_scene": len(labels_of(infer_one(server, "classify_scene"))),
        "bioclip_classify": len(labels_of(infer_one(species, "bioclip_classify"))),
        "two": len(labels_of(infer_one(server, "classify", topk="2"))),
        "all": len(labels_of(infer_one(server, "classify", topk="99"))),
    }

    assert counts == {
        "classify": 5, "classify_scene": 1, "bioclip_classify": 3, "two": 2, "all": 6,
    }  # fmt: skip


def test_cosines_are_given_on_request_in_the_order_of_the_shares(server):
    shares = labels_of(infer_one(server, "classify", top_k="6"))
    cosines = labels_of(infer_one(server, "classify", top_k="6", score="cosine"))
    scale = float(infer_one(server, "classify").meta["logit_scale"])
    logits = np.array([cosine for _, cosine in cosines]) * scale

    assert [label for label, _ in shares] == [label for label, _ in cosines]
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose([share for _, share in shares], expected, rtol=1e-3)


def test_species_have_lineages_formats_ranks_and_branches(species):
    plain = infer_one(species, "classify", top_k="5")
    scientific = labels_of(infer_one(species, "classify", top_k="5", label_format="scientific"))
    classes = dict(labels_of(infer_one(species, "classify", top_k="9", rank="class")))
    birds = labels_of(infer_one(species, "classify", top_k="9", include="class=Aves"))

    lineages = json.loads(plain.meta["lineage"])
    assert [label for label, _ in scientific] == [" ".join(names[5:7]) for names in lineages]
    assert set(classes) == {"Aves", "Insecta", "Mammalia"}
    assert sum(classes.values()) == pytest.approx(1, abs=1e-5)
    assert {label for label, _ in birds} == {"European Robin", "Emperor Penguin"}


def test_every_answer_says_its_space_and_where_the_time_went(server):
    meta = infer_one(server, "classify").meta

    stages = {"lat_ms", "decode_ms", "queue_ms", "model_ms", "score_ms"}
    assert stages | {"embedding_space", "label_set", "logit_scale", "model_id"} <= set(meta)
    assert int(meta["lat_ms"]) >= 0
    assert all(float(meta[stage]) >= 0 for stage in stages)


TENSOR = {
    "lumen.input.kind": "tensor",
    "lumen.tensor.dtype": "uint8",
    "lumen.tensor.shape": "[1,3,2,2]",
    "lumen.tensor.layout": "NCHW",
    "lumen.preprocess.skip": "true",
}
NOTHING = ("", " \n", "\0", "\ufeff", "\u200b\u2060", "\u2800\ufe0f", "&nbsp;", "&#x20;\x1b[31m")


@pytest.mark.parametrize(
    ("task", "payload", "mime", "meta", "code", "words"),
    [
        ("classify", None, "", {"labels": "no-such-set"}, "NOT_FOUND", "no-such-set"),
        ("classify", None, "", {"service": "bioclip"}, "NOT_FOUND", "not 'bioclip'"),
        ("classify", None, "", {"embedding_space": "0" * 64}, "FAILED_PRECONDITION", "0000"),
        ("classify", None, "", {"rank": "class"}, "INVALID_ARGUMENT", "rank"),
        ("classify", None, "", {"include": "class=Aves"}, "INVALID_ARGUMENT", "include"),
        ("classify", None, "", {"label_format": "latin"}, "INVALID_ARGUMENT", "latin"),
        ("classify", None, "", {"topk": "0"}, "INVALID_ARGUMENT", "whole number"),
        ("embed", b"\xff\xfe\xfa", "text/plain", {}, "INVALID_ARGUMENT", "UTF-8"),
        ("embed", b"cat", "image/jpeg", {}, "INVALID_ARGUMENT", "text/plain"),
        *(
            ("embed", text.encode(), "text/plain", {"prompt": prompt}, "INVALID_ARGUMENT", "empty")
            for text in NOTHING
            for prompt in ("raw", "template")
        ),
        ("image_embed", b"not a picture", "", {}, "INVALID_ARGUMENT", "JPEG"),
        ("image_embed", b"", "image/jpeg", {}, "INVALID_ARGUMENT", "empty"),
        ("image_embed", a_jpeg()[:200], "image/jpeg", {}, "INVALID_ARGUMENT", "incomplete"),
        ("image_embed", None, "text/plain", {}, "INVALID_ARGUMENT", "text/plain"),
        ("image_embed", bytes(12), "", TENSOR, "INVALID_ARGUMENT", "JPEG"),
        ("no_such_task", b"cat", "text/plain", {}, "INVALID_ARGUMENT", "no_such_task"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_sentence(
    server, task, payload, mime, meta, code, words
):
    error = refused(server, task, payload, mime, **meta)

    assert error.code().name == code
    assert words in error.details()
    assert len(error.details()) > 10


def test_a_species_server_knows_one_namespace(species):
    answer = infer_one(species, "classify", namespace="bioatlas")

    assert labels_of(answer)
    assert refused(species, "classify", namespace="elsewhere").code().name == "INVALID_ARGUMENT"


def test_one_bad_request_of_eight_fails_alone(server):
    requests = [
        a_request("embed" if n % 2 else "image_embed", b"cat" if n % 2 else None, number=n)
        for n in range(7)
    ]
    answers = infer(server, *requests, a_request("image_embed", b"no picture", number=7))

    assert sorted(answers) == [str(n) for n in range(8)]
    assert [n for n, answer in answers.items() if answer.HasField("error")] == ["7"]
    assert answers["7"].error.code == pb.ERROR_CODE_INVALID_ARGUMENT
    assert answers["7"].is_final


async def test_sixteen_streams_of_one_picture_share_batches(tiny_cache, tmp_path):
    config = a_config(tiny_cache / "models" / "tiny-clip")
    # Longer than sixteen pictures take to arrive on a machine that is busy with other tests.
    env = {**FAKE, "LUMEN_FAKE_DELAY_MS": "200"}
    with a_server(config, tmp_path, env) as server:
        await asyncio.to_thread(server.wait_for_health)
        before = server.metrics()
        async with grpc.aio.insecure_channel(server.address) as channel, asyncio.timeout(60):
            stub = pb_grpc.InferenceStub(channel)
            for _ in range(4):
                await asyncio.gather(*(one_of(stub, number) for number in range(16)))
        after = server.metrics()

    items, batches = (
        after[f'lumen_batch_size_{suffix}{{modality="image"}}']
        - before.get(f'lumen_batch_size_{suffix}{{modality="image"}}', 0)
        for suffix in ("sum", "count")
    )
    assert items == 64
    assert items / batches > 4


async def one_of(stub, number) -> None:
    (answer,) = [
        answer async for answer in stub.Infer(iter([a_request(number=number)]), timeout=30)
    ]
    assert not answer.HasField("error"), answer.error


def test_metrics_count_by_task_and_code_and_their_labels_stay_few(server):
    for task in itertools.islice(itertools.cycle(["no_such_task", "another"]), 20):
        refused(server, task)
    infer_one(server, "embed", b"cat")
    samples = server.metrics()

    assert samples['lumen_requests_total{code="OK",task="text_embed"}'] >= 1
    assert samples['lumen_requests_total{code="INVALID_ARGUMENT",task="unknown"}'] >= 20
    assert not any("no_such_task" in name for name in samples)
    assert samples["lumen_inflight"] == 0
    assert samples["lumen_queue_length"] == 0
