"""What decides a start: the environment, the cores, the runtime, the device."""

import subprocess
import sys

import numpy as np
import pytest

from lumen_manifest.server_config import MdnsSpec, ServerConfig
from lumen_manifest.spec.enums import Accelerator
from lumen_process.mdns import full_type
from lumen_serving import errors
from lumen_serving.backends.base import BACKENDS, BackendReport, BackendSettings, load_backend
from lumen_serving.backends.fake import FakeBackend
from lumen_serving.errors import BackendUnavailable, DeviceMismatch, SettingsInvalid, StartError
from lumen_serving.main import announcement
from lumen_serving.settings import ServerSettings
from lumen_serving.startup.load import parse_cpu_max, usable_cores
from lumen_serving.startup.parity import check_report
from lumen_wire.errors import WireError


def a_report(**changes):
    values = {
        "runtime": "onnxruntime",
        "version": "1.31",
        "device": "cpu",
        "precision": "fp32",
        "dim": 32,
        "providers": ("CPUExecutionProvider",),
    }
    return BackendReport(**{**values, **changes})


A_CONFIG = ServerConfig.model_validate(
    {"service": "clip", "family": "clip", "model": {"name": "m", "runtime": "onnx"}}
)


def a_backend(name):
    return load_backend(name, A_CONFIG, ServerSettings.from_environment({}))


class AModel:
    embedding_dim = 8


def a_fake():
    backend = FakeBackend()
    backend.load(AModel(), BackendSettings(Accelerator.CPU, threads=1))
    return backend


def test_nothing_heavy_is_imported_before_the_port_is_open():
    code = "import sys, lumen_serving.main; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    heavy = {"numpy", "onnxruntime", "PIL", "tokenizers", "zeroconf", "httpx", "pydantic", "yaml"}
    assert heavy & set(ran.stdout.split()) == set()


def test_the_defaults_are_those_of_a_pod():
    settings = ServerSettings.from_environment({})

    assert (settings.grpc_port, settings.health_port, settings.metrics_port) == (50051, 50052, 9090)
    assert (settings.drain_delay_s, settings.grace_s) == (5.0, 25.0)
    assert str(settings.config_path) == "/etc/lumen/server.json"
    assert settings.cpu_limit is None


def test_a_variable_that_cannot_be_is_named():
    with pytest.raises(SettingsInvalid, match="LUMEN_GRACE_S") as error:
        ServerSettings.from_environment({"LUMEN_GRACE_S": "-1"})

    assert error.value.remedy
    assert error.value.reason == "InvalidSpec"
    assert error.value.__cause__ is None  # logged, it would show the environment's secrets


@pytest.mark.parametrize(
    ("text", "cores"), [("max 100000", None), ("200000 100000", 2.0), ("150000 100000\n", 1.5)]
)
def test_the_quota_is_read_as_the_kernel_writes_it(text, cores):
    assert parse_cpu_max(text) == cores


@pytest.mark.parametrize(("declared", "cores"), [(4.0, 4), (1.5, 1), (0.25, 1)])
def test_cores_are_whole_ones_and_at_least_one_whatever_is_declared(declared, cores):
    assert usable_cores(declared) == cores
    assert usable_cores(None) >= 1


def test_an_unknown_runtime_names_the_known_ones():
    with pytest.raises(BackendUnavailable, match="torch, onnx, rknn"):
        a_backend("abacus")


def test_a_missing_package_says_what_to_install(monkeypatch):
    missing = ("lumen_no_such_package.backend:Backend", "lumen-serve[onnx]")
    monkeypatch.setitem(BACKENDS, "onnx", missing)
    with pytest.raises(BackendUnavailable, match=r"pip install 'lumen-serve\[onnx\]'"):
        a_backend("onnx")


def test_every_backend_that_is_offered_has_the_whole_protocol():
    wanted = {"load", "embed_images", "embed_texts", "report", "close", "slots", "batch_sizes"}
    # torch is not in this environment; tests/models has its backend.
    for name in sorted(BACKENDS.keys() - {"torch"}):
        assert wanted <= set(dir(a_backend(name)))


def test_another_device_than_promised_is_refused_with_the_evidence():
    with pytest.raises(DeviceMismatch, match=r"'cuda'.*CPUExecutionProvider"):
        check_report(a_report(), Accelerator.CUDA, 32)

    check_report(a_report(), Accelerator.CPU, 32)
    check_report(a_report(device="fake"), Accelerator.CUDA, 32)


def test_a_model_of_another_dimension_is_refused():
    with pytest.raises(StartError, match="vectors of 512 numbers, the model gives 32"):
        check_report(a_report(), Accelerator.CPU, 512)


def test_the_fake_gives_unit_vectors_that_depend_on_the_item_alone():
    backend = a_fake()
    pictures = np.random.default_rng(1).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    together = backend.embed_images(pictures)
    alone = np.concatenate([backend.embed_images(one[None]) for one in pictures])

    assert together.tobytes() == alone.tobytes()
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    assert len({row.tobytes() for row in together}) == 5
    # Nor is a text of the same bytes a picture.
    same_bytes = pictures[:1].reshape(1, -1).view(np.int64)
    assert backend.embed_texts(same_bytes).tobytes() != alone[:1].tobytes()


def config_of(**mdns):
    return A_CONFIG.model_copy(update={"mdns": MdnsSpec(**mdns) if mdns else None})


def settings_of(**env):
    return ServerSettings.from_environment({"LUMEN_BIND": "127.0.0.1", **env})


def test_nothing_is_announced_unless_the_configuration_says_so():
    assert announcement(config_of(), settings_of(), 1) is None
    assert announcement(config_of(enabled=False), settings_of(), 1) is None


def test_both_generations_of_types_and_records_come_from_the_configuration():
    told = announcement(
        config_of(
            type="_homenative-node._tcp.local.,_lumen-clip._tcp.local",
            name="attic",
            uuid="11112222-3333",
            status="ok",
            version="9.1",
        ),
        settings_of(ADVERTISE_IP="10.1.2.3"),
        50052,
    )

    assert [full_type(name) for name in told.types] == [
        "_homenative-node._tcp.local.",
        "_lumen-clip._tcp.local.",
    ]
    assert (told.instance, told.address, told.port) == ("attic-11112222", "10.1.2.3", 50052)
    assert told.properties == {
        "uuid": "11112222-3333",
        "status": "ok",
        "version": "9.1",
        "v": "9.1",
        "runtime": "onnx",
    }


def test_two_servers_of_one_name_are_two_instances():
    one, two = (announcement(config_of(name="clip"), settings_of(), 1) for _ in range(2))

    assert one.instance != two.instance
    assert one.types == ("_lumen._tcp.local.",)


def test_every_error_of_a_call_has_a_status_and_every_error_of_a_start_a_reason():
    own = [one for one in vars(errors).values() if isinstance(one, type)]
    calls = [one for one in own if issubclass(one, WireError)]
    starts = [one for one in own if issubclass(one, StartError)]

    assert all(one.status.name != "OK" for one in calls)
    assert all(str(one.reason) for one in starts)
    assert len(calls) > 10
    assert len(starts) >= 5
