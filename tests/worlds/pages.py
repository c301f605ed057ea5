"""What is on a page of the documentation, for tests that follow links."""

import re
from pathlib import Path


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made of them on the web."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in found}
