"""What a newcomer starts from works: every example parses and renders, every page is true."""

import re
from pathlib import Path

import pytest

from lumen_manifest.default_repositories import default_uri
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.node_pool import default_pools
from lumen_manifest.reading.parse import parse_files, parse_text
from lumen_manifest.render import render

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
PAGE = ROOT / "docs" / "manifest.md"
POOLS = {pool.name: pool for pool in default_pools()}


def yaml_blocks(page: Path) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", page.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_parses_and_renders(path: Path):
    services = [found for found in parse_files([path]) if isinstance(found, LumenModelService)]

    assert services
    for service in services:
        assert render(service, POOLS[service.spec.pool]).deployments


def test_the_two_services_work_side_by_side():
    files = [ROOT / "examples" / f"{family}-service.yaml" for family in ("clip", "bioclip")]

    assert [service.name for service in parse_files(files)] == ["clip", "bioclip"]


@pytest.mark.parametrize(
    ("page", "block"),
    [
        pytest.param(page.name, block, id=f"{page.stem}-{number}")
        for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
        for number, block in enumerate(yaml_blocks(page))
        if "apiVersion: lumen.dev/" in block
    ],
)
def test_every_manifest_of_every_page_parses_and_has_files(page: str, block: str):
    found = parse_text(block, page)

    assert found
    for service in found:
        if isinstance(service, LumenModelService) and service.spec.external is None:
            model = service.spec.model
            assert model.source.uri or default_uri(model), "nobody knows where its files are"


def test_the_shortest_manifest_names_a_repository_as_it_is():
    (service,) = parse_text(yaml_blocks(PAGE)[0], "docs/manifest.md")
    model = service.spec.model

    assert model.source.uri is None
    assert default_uri(model) == "hf://immich-app/ViT-B-32__openai"


def test_every_field_that_the_page_names_exists():
    fields = (ROOT / "docs" / "manifest-fields.md").read_text()

    named = set(re.findall(r"`((?:spec|status)\.[A-Za-z.\[\]]+)`", PAGE.read_text()))

    assert len(named) > 10
    assert {name for name in named if f"| `{name}` |" not in fields} == set()
