"""The programs understand what the chart tells them."""

import pytest
from chart.rendering import VALUE_SETS, ProgramFailed, rendered, template, the

from lumen_manifest.node_pool import default_pools
from lumen_operator.observe.networks import ExternalNetworks
from lumen_operator.settings import OperatorSettings
from lumen_router.advertise import AnnouncerSettings
from lumen_router.settings import ClusterRoutes, RouterSettings

FROM_THE_POD = {
    "metadata.namespace": "lumen",
    "metadata.name": "lumen-operator-abc",
    "status.hostIP": "192.168.7.7",
}


def environment(documents, component):
    """Return the variables of a Deployment's container as its process would see them."""
    deployment = the(documents, "Deployment", f"lumen-{component}")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {
        one["name"]: one.get("value")
        or FROM_THE_POD.get(one.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath"), "")
        for one in container["env"]
    }


def test_unless_told_otherwise_the_operator_behaves_as_its_code_says(helm3):
    told = environment(rendered(helm3), "operator")

    settings = OperatorSettings.from_environment(told)

    own = OperatorSettings.from_environment(
        {"LUMEN_POD_NAME": "lumen-operator-abc", "LUMEN_OPERATOR_NAMESPACE": "lumen"}
    )
    assert settings == own
    assert settings.pools == default_pools()


def test_unless_told_otherwise_the_router_behaves_as_its_code_says(helm3):
    told = environment(rendered(helm3), "router")

    settings = RouterSettings.from_environment(told)

    assert settings == RouterSettings.from_environment(
        {"LUMEN_ROUTES_FROM": "cluster", "LUMEN_NAMESPACE": "lumen"}
    )
    assert settings.routes == ClusterRoutes("lumen")


def test_what_the_values_say_reaches_every_program(helm3):
    documents = rendered(helm3, *VALUE_SETS["everything"])

    operator = OperatorSettings.from_environment(environment(documents, "operator"))
    advertiser = AnnouncerSettings.from_environment(environment(documents, "mdns"))

    assert operator.watch_namespace == "lumen"
    assert [pool.name for pool in operator.pools] == ["cpu"]
    assert operator.context.images.resources == "registry.example.org/lumen/resources:1.2.3"
    assert operator.context.source_env == {"HF_ENDPOINT": "https://hub.example.org"}
    assert operator.context.external_networks == ExternalNetworks.parse(["192.168.7.0/24"])
    assert operator.context.monitoring_namespace == "observability"
    assert (advertiser.service, advertiser.namespace) == ("lumen-router", "lumen")
    assert advertiser.router == "lumen-router.lumen.svc:443"


@pytest.mark.parametrize("component", ["operator", "router", "mdns"])
def test_no_program_is_told_what_it_does_not_read(helm3, component):
    """A variable that nobody reads is a value that does nothing."""
    told = environment(rendered(helm3, *VALUE_SETS["everything"]), component)
    read = Reading(told)

    {
        "operator": OperatorSettings,
        "router": RouterSettings,
        "mdns": AnnouncerSettings,
    }[component].from_environment(read)

    assert set(told) - read.names == {"EXTRA"} & set(told)


class Reading(dict):
    """An environment that remembers what was asked for."""

    def __init__(self, told):
        super().__init__(told)
        self.names = set()

    def get(self, name, default=None):
        self.names.add(name)
        return super().get(name, default)

    def __getitem__(self, name):
        self.names.add(name)
        return super().__getitem__(name)


@pytest.mark.parametrize("component", ["operator", "router"])
def test_a_variable_that_the_chart_sets_itself_is_refused_beside_it(helm3, component):
    own = environment(rendered(helm3), component)

    for name in own:
        with pytest.raises(ProgramFailed, match=f"{component}.env: {name} is set by the chart"):
            template(helm3, "--set-json", f'{component}.env=[{{"name":"{name}","value":"7"}}]')
    other = '[{"name":"TZ","value":"UTC"}]'
    assert environment(rendered(helm3, "--set-json", f"{component}.env={other}"), component) == {
        **own,
        "TZ": "UTC",
    }


def test_a_registry_for_all_parts_of_a_chart_is_that_of_every_image(helm3):
    documents = rendered(helm3, "--set", "global.imageRegistry=registry.example.org:5000")
    images = [
        container["image"]
        for document in documents
        for container in document.get("spec", {})
        .get("template", {})
        .get("spec", {})
        .get("containers", ())
    ]

    assert images
    assert all(image.startswith("registry.example.org:5000/lumen/") for image in images)
    told = environment(documents, "operator")
    assert told["LUMEN_IMAGE_PREFIX"] == "registry.example.org:5000/lumen"
