"""What pages and messages tell people to type exists: commands, options, make targets, links."""

import re
from pathlib import Path

import pytest
from every_command import problem_with
from pages import headings

from lumen_manifest.conditions import Reason

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("docs/**/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
TEXTS = {
    **{str(page.relative_to(ROOT)): page.read_text() for page in PAGES},
    **{path.name: path.read_text() for path in (ROOT / "examples").glob("*.yaml")},
    "Makefile": (ROOT / "Makefile").read_text(),
    "remedies": "\n".join(reason.remedy() for reason in Reason),
}
TARGETS = set(re.findall(r"^([a-z0-9-]+):", TEXTS["Makefile"], re.MULTILINE))


def commands_in(text: str) -> set[str]:
    """Every `lumen ...` in backticks, behind a prompt, or alone on a line of a comment."""
    lines = re.findall(
        r"^(?:\$|#  )(?: *one machine)? *(?:\.venv/bin/)?lumen (\S.*)$", text, re.MULTILINE
    )
    return {*re.findall(r"`(?:\.venv/bin/)?lumen ([^`\n]+)`", text), *lines}


COMMANDS = sorted({(where, line) for where, text in TEXTS.items() for line in commands_in(text)})


def test_commands_are_found():
    assert {where for where, _ in COMMANDS} >= {"docs/run-locally.md", "README.md", "remedies"}
    assert problem_with("resources verify --write FOLDER") == ""
    assert problem_with("resources verify --write") != ""
    assert problem_with("resources labels --prepare") == "no model is named"
    assert problem_with("up -f FILE --log-level loud") != ""
    assert problem_with("up --log-level info") == "no --file"
    assert problem_with("resources import") == "no command import"
    assert problem_with("up --porrt 1") != ""


@pytest.mark.parametrize(("where", "line"), COMMANDS)
def test_every_command_of_ours_exists_with_its_options(where, line):
    assert problem_with(line) == ""


@pytest.mark.parametrize("where", TEXTS)
def test_every_make_target_exists(where):
    named = set(re.findall(r"(?:`|^\$ (?:\w+=\S+ )?)make ([a-z0-9-]+)", TEXTS[where], re.MULTILINE))

    assert named - TARGETS == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for path, heading in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text()):
        if path.startswith(("https:", "http:")):
            continue
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not heading or heading in headings(target), f"{path}#{heading}"
