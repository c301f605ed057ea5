"""Which pools a machine stands for, and what it refuses."""

from pathlib import Path

import pytest

from lumen_local.errors import PoolRefused
from lumen_local.pod.machine import Machine, choose_pools, gather_machine
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.node_pool import LumenNodePool
from lumen_manifest.spec.enums import Accelerator, Runtime

CPU_ONLY = Machine(4, 2**33, frozenset({Accelerator.CPU}), frozenset({Runtime.ONNX}))


def a_service(pool: str, runtime: str = "onnx") -> LumenModelService:
    model = {"name": "m", "runtime": runtime, "precision": "fp16"}
    spec = {"family": "clip", "model": model, "pool": pool}
    return LumenModelService.model_validate({"metadata": {"name": "clip"}, "spec": spec})


def a_pool(name: str, accelerator: str, **images: str) -> LumenNodePool:
    spec = {"accelerator": accelerator, "images": images}
    return LumenNodePool.model_validate({"metadata": {"name": name}, "spec": spec})


def a_root(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        path = tmp_path / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_machine_without_devices_has_a_cpu(tmp_path):
    assert gather_machine(tmp_path).accelerators == {Accelerator.CPU}


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"dev__nvidia0": ""}, Accelerator.CUDA),
        ({"dev__kfd": ""}, Accelerator.ROCM),
        ({"proc__device-tree__compatible": "radxa\0rockchip,rk3588\0"}, Accelerator.RK3588),
        ({"proc__device-tree__compatible": "radxa\0rockchip,rk3588s\0"}, Accelerator.RK3588),
        ({"proc__device-tree__compatible": "radxa\0rockchip,rk3566\0"}, Accelerator.RK3588),
    ],
)
def test_device_nodes_make_accelerators(tmp_path, files, found):
    assert gather_machine(a_root(tmp_path, **files)).accelerators == {Accelerator.CPU, found}


@pytest.mark.parametrize(
    ("names", "chip"),
    [
        ("radxa,rock-5b\0rockchip,rk3588\0", "rk3588"),
        ("orangepi,5\0rockchip,rk3588s\0", "rk3588"),
        ("radxa,zero3\0rockchip,rk3566\0", "rk3566"),
        ("friendly,r76s\0rockchip,rk3576\0", "rk3576"),
        ("raspberrypi,4-model-b\0brcm,bcm2711\0", ""),
        ("pine64,rockpro64\0rockchip,rk3399\0", ""),
        ("\0\xff\0", ""),
        ("", ""),
    ],
)
def test_a_device_tree_tells_whose_files_the_npu_takes(tmp_path, names, chip):
    machine = gather_machine(a_root(tmp_path, **{"proc__device-tree__compatible": names}))

    assert machine.rknn_target == chip
    assert (Accelerator.RK3588 in machine.accelerators) is bool(chip)


def test_a_cgroups_quota_and_memory_limit_count(tmp_path):
    files = {"sys__fs__cgroup__cpu.max": "100000 100000", "sys__fs__cgroup__memory.max": "1048576"}
    machine = gather_machine(a_root(tmp_path, **files))

    assert machine.cores == 1
    assert machine.memory_bytes == 1_048_576


def test_no_limit_means_the_whole_machine(tmp_path):
    files = {"sys__fs__cgroup__cpu.max": "max 100000", "sys__fs__cgroup__memory.max": "max"}
    machine = gather_machine(a_root(tmp_path, **files))

    assert machine == gather_machine(Path("/nonexistent"))


@pytest.mark.parametrize(("name", "declared"), [("cpu", []), ("fast", [a_pool("fast", "cpu")])])
def test_a_pool_counts_when_its_accelerator_is_here(name, declared):
    chosen = choose_pools([a_service(name)], declared, CPU_ONLY)["clip"]

    assert (chosen.name, chosen.spec.accelerator) == (name, Accelerator.CPU)


@pytest.mark.parametrize(
    ("service", "declared", "message"),
    [
        (a_service("cuda"), [], r"UnknownPool: clip asks for pool cuda.*has cpu.*nvidia0"),
        (a_service("rk3588", "rknn"), [], r"UnknownPool.*device-tree"),
        (a_service("fast"), [], r"UnknownPool: clip asks for pool fast.*has cpu"),
        (a_service("big"), [a_pool("big", "cuda")], r"UnknownPool.*nvidia0"),
        (a_service("cpu", "torch"), [], r"RuntimeNotOnPool.*pip install 'lumen-serve\[torch\]'"),
        (
            a_service("one", "torch"),
            [a_pool("one", "cpu", onnx="image")],
            r"RuntimeNotOnPool.*one of onnx",
        ),
    ],
)
def test_what_this_machine_lacks_is_refused_with_what_to_do(service, declared, message):
    with pytest.raises(PoolRefused, match=message):
        choose_pools([service], declared, CPU_ONLY)
