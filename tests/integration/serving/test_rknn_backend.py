"""The RKNN backend on a double of Rockchip's package: vectors, cores, refusals."""

import dataclasses
import threading

import numpy as np
import pytest
import rknn_models
import serving_servers
import tiny_models
from rknnlite.api import RKNNRuntime

from lumen_manifest.spec.enums import Accelerator, Precision
from lumen_resources.errors import ChecksumMismatchError
from lumen_resources.fetch.fetch import fetch_and_verify
from lumen_resources.fetch.recording import record
from lumen_resources.progress import Progress
from lumen_serving.backends.base import BackendSettings, load_backend
from lumen_serving.backends.rknn import RknnBackend, RknnOptions
from lumen_serving.errors import (
    BackendUnavailable,
    DeviceMismatch,
    DeviceTreeMasked,
    DriverMismatch,
)
from lumen_serving.graphs.ports import RunFailed
from lumen_serving.media.images import decode_rgb
from lumen_serving.media.text import Tokenizer
from lumen_serving.settings import ServerSettings
from lumen_serving.startup.parity import check_parity, check_report

SPEC = tiny_models.TinyModel()
NPU = BackendSettings(accelerator=Accelerator.RK3588, threads=2)
CONFIG = {"accelerator": "rk3588", "rknn_target": "rk3588"}


def verified(tmp_path, **how):
    root = tiny_models.write_model(tmp_path / "source", SPEC)
    rknn_models.add_rknn(root, SPEC, **how)
    model = {"name": root.name, "runtime": "rknn", "precision": "fp16"}
    config = serving_servers.a_config(
        root, model={**model, "source": {"uri": f"file://{root}"}}, **CONFIG
    )
    return fetch_and_verify(config, tmp_path / "cache", tmp_path, Progress())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return verified(tmp_path_factory.mktemp("rknn-backend"))


@pytest.fixture
def board(tmp_path):
    return rknn_models.a_board(tmp_path / "board")


@pytest.fixture
def backend(model, board):
    backend = RknnBackend(RknnOptions(root=board))
    backend.load(model, NPU)
    yield backend
    backend.close()


def cosines(got, wanted):
    return (got * wanted).sum(axis=1)


def squares(model, pictures):
    payloads = [tiny_models.encoded(picture, "PNG") for picture in pictures]
    return np.stack([decode_rgb(p, "image/png", model.preprocess) for p in payloads])


@pytest.mark.parametrize(
    "how",
    [
        {"inside": True},
        {"inside": False},
        {"inside": False, "says_attributes": False},
        {"inside": False, "channels_last": True},
        {"inside": False, "channels_last": True, "says_attributes": False},
    ],
    ids=lambda how: ",".join(f"{key}={value}" for key, value in how.items()),
)
def test_pictures_get_open_clips_vectors_from_every_kind_of_file(tmp_path, board, how):
    model = verified(tmp_path, **how)
    pictures = [tiny_models.a_picture(i, 90, 60) for i in range(4)]
    backend = RknnBackend(RknnOptions(root=board))
    backend.load(model, NPU)

    got = backend.embed_images(squares(model, pictures))

    wanted = tiny_models.image_vectors(tmp_path / "source" / "models" / SPEC.name, pictures, SPEC)
    assert got.dtype == np.float32
    assert cosines(got, wanted).min() > 0.9999
    backend.close()


def test_immichs_repository_serves_as_it_is(tmp_path, board):
    root = rknn_models.write_immich(tmp_path / "source" / "ViT-Tiny__openai", SPEC)
    record(root, Progress())
    source = {"uri": f"file://{root}"}
    asked = {"name": root.name, "runtime": "rknn", "precision": "fp16", "source": source}
    config = serving_servers.a_config(root, **CONFIG, service="clip", family="clip", model=asked)
    model = fetch_and_verify(config, tmp_path / "cache", tmp_path, Progress())
    pictures, texts = [tiny_models.a_picture(i, 90, 60) for i in range(3)], ["a photo of a cat"]
    plain = tiny_models.write_model(tmp_path / "plain", SPEC)
    backend = RknnBackend(RknnOptions(root=board))

    backend.load(model, NPU)

    wanted = tiny_models.image_vectors(plain, pictures, SPEC)
    assert cosines(backend.embed_images(squares(model, pictures)), wanted).min() > 0.9999
    rows, _ = Tokenizer.load(model).encode(texts)
    wanted = tiny_models.text_vectors(plain, texts)
    assert cosines(backend.embed_texts(rows), wanted).min() > 0.9999
    assert model.files.vision == root / "visual" / "rknpu" / "rk3588" / "model.rknn"
    backend.close()


def test_texts_get_the_vectors_of_the_plain_graph(backend, model):
    texts = ["a photo of a cat", "the dog of the sea", "!"]
    rows, _ = Tokenizer.load(model).encode(texts)

    got = backend.embed_texts(rows)

    assert cosines(got, tiny_models.text_vectors(model.root, texts)).min() > 0.9999
    assert check_parity(backend, model, Tokenizer.load(model)) > 0.9999


def test_an_item_has_the_same_bytes_alone_and_in_any_batch(backend):
    side = SPEC.image_size
    items = np.random.default_rng(3).integers(0, 256, (5, side, side, 3), dtype=np.uint8)

    together = backend.embed_images(items)

    assert together.tobytes() == b"".join(backend.embed_images(i[None]).tobytes() for i in items)
    assert backend.embed_images(items[:0]).shape == (0, SPEC.dim)


def test_three_threads_have_a_core_each_and_no_more(backend, model):
    items = np.zeros((1, SPEC.image_size, SPEC.image_size, 3), np.uint8)
    inside, most, meet = [], [], threading.Barrier(3, timeout=30)
    for core in backend._cores:
        session = core.sessions[0]
        run = session.run

        def slow(outputs, feeds, run=run, core=core):
            inside.append(core.name)
            meet.wait()
            most.append(sorted(inside))
            return run(outputs, feeds)

        session.run = slow
    threads = [threading.Thread(target=backend.embed_images, args=(items,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (backend.slots, backend.batch_sizes) == (3, (1,))
    assert most == [["NPU_CORE_0", "NPU_CORE_1", "NPU_CORE_2"]] * 3


def test_it_says_what_computes(backend):
    report = backend.report()

    check_report(report, Accelerator.RK3588, SPEC.dim)
    assert (report.runtime, report.device, report.precision) == ("rknn", "rk3588", "fp16")
    assert report.version == "2.3.2 (429f97ae6b@2025-04-09T09:09:27)"
    assert report.details["driver"] == "0.9.8"
    assert report.details["board"] == "radxa,rock-5b"
    assert report.details["toolkit"] == "2.3.2"


def test_closing_gives_every_core_back(model, board):
    held = RKNNRuntime.contexts
    backend = RknnBackend(RknnOptions(root=board))
    backend.load(model, NPU)
    assert RKNNRuntime.contexts == held + 6

    backend.close()
    backend.close()

    assert RKNNRuntime.contexts == held


def test_a_board_with_memory_for_one_copy_serves_with_one_core(model, board, monkeypatch):
    monkeypatch.setenv("RKNN_CONTEXTS", str(RKNNRuntime.contexts + 3))
    held = RKNNRuntime.contexts
    backend = RknnBackend(RknnOptions(root=board))

    backend.load(model, NPU)

    assert (backend.slots, backend.report().providers) == (1, ("NPU_CORE_0",))
    # The tower that still fitted on the second core is given back.
    assert RKNNRuntime.contexts == held + 2
    backend.close()


@pytest.mark.parametrize(
    ("chip", "names"),
    [("rk3576", ("NPU_CORE_0", "NPU_CORE_1")), ("rk3566", ("NPU",))],
)
def test_other_chips_have_fewer_cores(tmp_path, chip, names):
    root = tiny_models.write_model(tmp_path / "source", SPEC)
    rknn_models.add_rknn(root, SPEC, target=chip)
    source = {"uri": f"file://{root}"}
    model = {"name": root.name, "runtime": "rknn", "precision": "fp16", "source": source}
    config = serving_servers.a_config(root, model=model, accelerator="rk3588", rknn_target=chip)
    files = fetch_and_verify(config, tmp_path / "cache", tmp_path, Progress())
    board = rknn_models.a_board(tmp_path / "board", f"maker,board\0rockchip,{chip}\0")
    backend = RknnBackend(RknnOptions(chip, board))

    backend.load(files, NPU)

    assert backend.slots == len(names)
    assert backend.report().providers == names
    assert backend.report().details["chip"] == chip
    backend.close()


@pytest.mark.parametrize(
    ("variables", "error", "says"),
    [
        ({"RKNN_INIT": "RKNN_ERR_DEVICE_UNMATCH"}, DriverMismatch, "driver is too old.*kernel"),
        ({"RKNN_INIT": "RKNN_ERR_DEVICE_UNAVAILABLE"}, DeviceMismatch, "renderD129"),
        ({"RKNN_INIT": "RKNN_ERR_TARGET_PLATFORM_UNMATCH"}, DeviceMismatch, "another chip"),
        ({"RKNN_INIT": "RKNN_ERR_MODEL_INVALID"}, BackendUnavailable, "does not take it"),
        ({"RKNN_INIT": "RKNN_ERR_FAIL"}, BackendUnavailable, "library says.*RKNN_ERR_FAIL"),
        ({"RKNN_CONTEXTS": "0"}, BackendUnavailable, "no memory left"),
        ({"RKNN_ABSENT": "library"}, BackendUnavailable, "librknnrt.so is not there"),
        ({"RKNN_ABSENT": "node"}, DeviceMismatch, "device node"),
        ({"RKNN_API": "1.6.0 (9a7b5d24c@2023-12-13)"}, DriverMismatch, "2.3.2.*is 1.6.0"),
        ({"RKNN_API": ""}, DriverMismatch, "unknown version"),
        ({"RKNN_RUN": "-2"}, BackendUnavailable, "does not run: .*-2"),
        ({"RKNN_SET": "RKNN_ERR_PARAM_INVALID"}, BackendUnavailable, "PARAM_INVALID"),
    ],
)
def test_what_the_board_refuses_becomes_a_sentence_and_nothing_stays_held(
    model, board, monkeypatch, variables, error, says
):
    held = RKNNRuntime.contexts
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    backend = RknnBackend(RknnOptions(root=board))

    with pytest.raises(error, match=says):
        backend.load(model, NPU)

    backend.close()
    assert RKNNRuntime.contexts == held


@pytest.mark.parametrize("newer", ["2.3.0", "2.4.1", "3.0.0"])
def test_a_newer_library_takes_the_files_of_an_older_toolkit(model, board, monkeypatch, newer):
    monkeypatch.setenv("RKNN_API", newer)
    backend = RknnBackend(RknnOptions(root=board))

    backend.load(model, NPU)

    assert backend.report().version == newer
    backend.close()


def test_a_run_that_failed_never_hands_out_the_vectors_of_the_one_before(backend, monkeypatch):
    items = np.zeros((1, SPEC.image_size, SPEC.image_size, 3), np.uint8)
    backend.embed_images(items)
    monkeypatch.setenv("RKNN_RUN", "-1")

    with pytest.raises(RunFailed):
        backend.embed_images(items + 9)
    monkeypatch.delenv("RKNN_RUN")

    assert backend.embed_images(items).shape == (1, SPEC.dim)


def test_an_item_of_another_shape_never_reaches_the_library(backend):
    with pytest.raises(RunFailed, match="is not what"):
        backend.embed_texts(np.ones((1, SPEC.context_length - 1), np.int64))


def test_a_container_without_the_device_tree_is_told_so(model, tmp_path):
    with pytest.raises(DeviceTreeMasked, match=r"procMount: Unmasked.*spec\.external"):
        RknnBackend(RknnOptions(root=tmp_path)).load(model, NPU)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("raspberrypi,4-model-b\0brcm,bcm2711\0", "raspberrypi"),
        ("radxa,rock-4d\0rockchip,rk3576\0", "take the model's files for rk3576"),
    ],
)
def test_another_board_is_a_mismatch(model, tmp_path, names, says):
    board = rknn_models.a_board(tmp_path, names)

    with pytest.raises(DeviceMismatch, match=says):
        RknnBackend(RknnOptions(root=board)).load(model, NPU)


def test_only_verified_bytes_are_loaded(tmp_path, board):
    model = verified(tmp_path)
    vision = model.files.vision
    vision.write_bytes(vision.read_bytes()[::-1])

    with pytest.raises(ChecksumMismatchError):
        RknnBackend(RknnOptions(root=board)).load(model, NPU)


def test_pictures_alone_need_one_file(model, board):
    alone = dataclasses.replace(
        model,
        files=dataclasses.replace(model.files, text=None),
        modalities=frozenset({next(m for m in model.modalities if m.value == "image")}),
    )
    backend = RknnBackend(RknnOptions(root=board))

    backend.load(alone, NPU)

    assert backend.report().precision == Precision.FP16.value
    backend.close()


def test_the_table_of_runtimes_finds_it(model):
    config = serving_servers.a_config(model.root, rknn_target="rk3576")

    backend = load_backend("rknn", config, ServerSettings.from_environment({}))

    assert (type(backend), backend.slots) == (RknnBackend, 2)
