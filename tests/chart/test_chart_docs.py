"""What the cluster's pages print can be used as it is printed; test_docs_commands has the links."""

import json
import re

import pytest
import yaml
from chart.rendering import CHART, REPOSITORY, rendered, the
from cluster_objects import an_object

from lumen_manifest.reading.parse import parse_object

DOCS = REPOSITORY / "docs"
PAGES = ("install.md", "pools.md", "upgrading.md")
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def text_of(page):
    return (DOCS / page).read_text()


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), re.DOTALL | re.MULTILINE)


MANIFESTS = [block for page in PAGES for block in blocks(page, "yaml")]


@pytest.mark.parametrize(
    "text", MANIFESTS, ids=lambda text: yaml.safe_load(text)["metadata"]["name"]
)
def test_every_manifest_is_accepted(text):
    parse_object(yaml.safe_load(text))


def test_there_is_a_manifest_for_every_kind_of_accelerator():
    accelerators = {yaml.safe_load(text)["spec"].get("accelerator") for text in MANIFESTS}

    assert {"cpu", "cuda", "rocm", "rk3588"} <= accelerators


def test_pools_of_ones_own_are_understood_by_the_chart_and_the_operator(helm3, tmp_path):
    (values,) = (
        yaml.safe_load(text) for text in blocks("pools.md", "text") if "defaultPools" in text
    )
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(values))

    deployment = the(rendered(helm3, f"--values={path}"), "Deployment", "lumen-operator")
    environment = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    (told,) = (one["value"] for one in environment if one["name"] == "LUMEN_DEFAULT_POOLS")
    for pool in json.loads(told):
        parse_object(an_object("LumenNodePool", pool["name"], pool["spec"]))


@pytest.mark.parametrize("page", PAGES)
def test_every_value_that_a_page_names_exists(page):
    sections = "|".join(name for name, below in VALUES.items() if isinstance(below, dict))
    named = set(re.findall(rf"(?<![-\w])(?:{sections})(?:\.[A-Za-z]+)+", text_of(page)))

    unknown = {name for name in named if not (_exists(name) or name.endswith(".md"))}

    assert unknown == set()
    assert named or page == "pools.md"


def _exists(name):
    found = VALUES
    for part in name.split("."):
        if found == {} or isinstance(found, list):
            return True
        if part not in found:
            return False
        found = found[part]
    return True


def test_the_heading_that_messages_of_the_operator_point_to_exists():
    assert "\n### Sharing\n" in text_of("pools.md")
