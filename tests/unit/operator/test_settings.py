import orjson
import pytest

from lumen_operator.observe.networks import ExternalNetworks
from lumen_operator.settings import OperatorSettings
from lumen_process.settings import SettingsError


def test_nothing_set_gives_the_built_in_settings():
    settings = OperatorSettings.from_environment({})

    assert settings.watch_namespace == ""
    assert (settings.health_port, settings.metrics_port) == (8081, 9090)
    assert [pool.name for pool in settings.pools] == ["cpu", "cuda", "rocm", "rk3588"]
    assert settings.lease_name == "lumen-operator"


def test_what_is_set_reaches_the_context_of_decisions():
    settings = OperatorSettings.from_environment(
        {
            "LUMEN_IMAGE_PREFIX": "registry.example/lumen",
            "LUMEN_IMAGE_TAG": "9",
            "LUMEN_OPERATOR_NAMESPACE": "ops",
            "LUMEN_SOURCE_ENV": '{"HF_ENDPOINT": "https://hub.example"}',
            "LUMEN_EXTERNAL_NETWORKS": '["192.168.7.0/24"]',
            "LUMEN_GRACE_S": "40",
        }
    )

    assert settings.context.external_networks == ExternalNetworks.parse(["192.168.7.0/24"])
    assert settings.context.images.resources == "registry.example/lumen/resources:9"
    assert settings.namespace == "ops"
    assert settings.context.source_env == {"HF_ENDPOINT": "https://hub.example"}
    assert settings.context.grace_s == 40


def test_a_restarted_container_has_the_identity_that_its_predecessor_had():
    env = {"LUMEN_POD_NAME": "lumen-operator-abc"}
    first, second = (OperatorSettings.from_environment(env).identity for _ in range(2))

    assert first == second == "lumen-operator-abc"


def test_two_processes_outside_of_pods_have_identities_of_their_own():
    first, second = (OperatorSettings.from_environment({}).identity for _ in range(2))

    assert first != second


def test_pools_of_the_chart_replace_the_built_in_ones():
    entry = {"name": "cpu", "spec": {"accelerator": "cpu", "nodeSelector": {"a": "b"}}}
    settings = OperatorSettings.from_environment(
        {"LUMEN_DEFAULT_POOLS": orjson.dumps([entry]).decode()}
    )

    assert [pool.spec.node_selector for pool in settings.pools] == [{"a": "b"}]
    assert OperatorSettings.from_environment({"LUMEN_DEFAULT_POOLS": "[]"}).pools == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LUMEN_HEALTH_PORT", "70000"),
        ("LUMEN_WORKERS", "0"),
        ("LUMEN_WORKERS", "many"),
        ("LUMEN_RESYNC_S", "nan"),
        ("LUMEN_SOURCE_ENV", "[]"),
        ("LUMEN_SOURCE_ENV", '{"A": 1}'),
        ("LUMEN_SOURCE_ENV", "{"),
        ("LUMEN_EXTERNAL_NETWORKS", "{}"),
        ("LUMEN_EXTERNAL_NETWORKS", "[7]"),
        ("LUMEN_EXTERNAL_NETWORKS", '["192.168.7.20/24"]'),
        ("LUMEN_DEFAULT_POOLS", "{}"),
        ("LUMEN_DEFAULT_POOLS", '[{"name": "cpu", "spec": {"accelerator": "tpu"}}]'),
        ("LUMEN_DEFAULT_POOLS", '[{"nam": "cpu"}]'),
        ("LUMEN_DEFAULT_POOLS", "[1]"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_its_name(name, value):
    with pytest.raises(SettingsError, match=name):
        OperatorSettings.from_environment({name: value})
