"""The way to a GPU, walked on a double of torch.cuda: what is asked of it, and in which order."""

import inspect

import numpy as np
import pytest
import torch
from torch_without_gpu import GpuTorch

from lumen_manifest.spec.enums import Accelerator, Precision
from lumen_serving.backends.base import BackendSettings
from lumen_serving.backends.torch.devices import open_device
from lumen_serving.backends.torch.gpu import BATCH
from lumen_serving.errors import BackendUnavailable, DeviceMismatch

GPU = BackendSettings(Accelerator.CUDA, threads=1)
ITEMS = np.random.default_rng(1).integers(0, 256, (2 * BATCH + 3, 4, 4, 3), dtype=np.uint8)


class Tower(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(48, 5)
        self.calls = 0

    def forward(self, items):
        self.calls += 1
        return self.linear(items.flatten(1).to(torch.float32))


def placed(gpu, tower, settings=GPU):
    return open_device(gpu, Precision.FP16, settings).place(tower, ITEMS[:8])


@pytest.mark.parametrize("capturable", [True, False])
def test_batches_are_filled_up_split_and_copied_out(capturable):
    gpu, tower = GpuTorch(capturable=capturable), Tower()
    with torch.inference_mode():
        wanted = tower(torch.from_numpy(ITEMS)).numpy()

    runs = placed(gpu, tower)
    got = runs.vectors(ITEMS)
    kept = got.copy()
    runs.vectors(ITEMS[::-1].copy())

    np.testing.assert_allclose(got, wanted, atol=1e-4)
    # The next batch writes into the same buffers, and not into what was returned.
    assert got.tobytes() == kept.tobytes()
    assert runs.vectors(ITEMS[:0]).shape == (0, 5)
    assert runs.details["graph"] == ("captured" if capturable else "not captured")


def test_a_captured_tower_is_replayed_and_not_called():
    gpu, tower = GpuTorch(), Tower()
    runs = placed(gpu, tower)
    calls = tower.calls

    runs.vectors(ITEMS)

    assert tower.calls == calls
    assert [graph.replays for graph in gpu.captured] == [3]
    assert gpu.pinned == 2


def test_an_items_bytes_are_the_same_alone_and_in_any_batch():
    runs = placed(GpuTorch(), Tower())

    together = runs.vectors(ITEMS)

    alone = np.concatenate([runs.vectors(ITEMS[at : at + 1]) for at in range(len(ITEMS))])
    assert alone.tobytes() == together.tobytes()


def test_the_device_says_what_it_is_and_keeps_to_its_share():
    gpu = GpuTorch()

    device = open_device(gpu, Precision.FP16, BackendSettings(Accelerator.CUDA, 1, 4096))

    assert (device.accelerator, device.precision) == (Accelerator.CUDA, Precision.FP16)
    assert device.evidence["name"] == "A GPU"
    assert device.evidence["cuda"] == "12.8"
    assert device.batch_sizes == (BATCH,)
    assert gpu.share == 0.25


def test_rocm_is_known_by_its_own_version():
    gpu = GpuTorch(cuda=None, hip="6.3")

    device = open_device(gpu, Precision.BF16, BackendSettings(Accelerator.ROCM, 1))

    assert device.evidence["hip"] == "6.3"
    with pytest.raises(BackendUnavailable, match="not built for CUDA"):
        open_device(gpu, Precision.FP32, GPU)


@pytest.mark.parametrize(
    ("gpu", "kind", "said"),
    [
        (GpuTorch(available=False), DeviceMismatch, "finds no device"),
        (GpuTorch(bf16=False), BackendUnavailable, "does not compute in bf16"),
        (GpuTorch(cuda=None), BackendUnavailable, "not built for CUDA"),
    ],
)
def test_a_gpu_that_is_not_there_is_refused(gpu, kind, said):
    with pytest.raises(kind, match=said) as refused:
        open_device(gpu, Precision.BF16, GPU)
    assert refused.value.remedy


def test_int8_is_refused():
    with pytest.raises(BackendUnavailable, match="int8"):
        open_device(GpuTorch(), Precision.INT8, GPU)


@pytest.mark.parametrize(
    "name",
    [
        "current_stream",
        "device_count",
        "get_device_name",
        "get_device_properties",
        "graph",
        "is_available",
        "is_bf16_supported",
        "set_per_process_memory_fraction",
        "stream",
    ],
)
def test_the_double_takes_what_torch_takes(name):
    real = getattr(torch.cuda, name)
    known = list(inspect.signature(real.__init__ if inspect.isclass(real) else real).parameters)
    known = [parameter for parameter in known if parameter != "self"]

    taken = list(inspect.signature(getattr(GpuTorch().cuda, name)).parameters)

    assert taken == known[: len(taken)]


@pytest.mark.parametrize(("name", "verbs"), [("Stream", ["wait_stream", "synchronize"]),
                                             ("CUDAGraph", ["replay"])])  # fmt: skip
def test_the_double_has_no_verb_that_torch_has_not(name, verbs):
    for verb in verbs:
        assert callable(getattr(getattr(GpuTorch().cuda, name), verb))
        assert callable(getattr(getattr(torch.cuda, name), verb))
