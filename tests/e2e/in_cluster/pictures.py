"""The demo's pictures, and one call that says whether the answer is the expected one."""

import json
from pathlib import Path

from lumen_client import AsyncClient

FALLBACK = "scene_classification_fallback"
_FOLDER = Path("/pictures")


def cases() -> dict[str, dict[str, str]]:
    """Return the expected answer, `source` and `label`, for each picture's name."""
    return dict(json.loads((_FOLDER / "expected.json").read_text()))


async def ask(client: AsyncClient, picture: str, expected: dict[str, str]) -> str:
    """Classify a picture; return what is wrong with the answer, nothing when it is right.

    Without a species service, smart_classify answers by the scene alone: that is FALLBACK.

    Raises:
        ClientError: there was no answer.

    """
    answer = await client.smart_classify((_FOLDER / picture).read_bytes(), top_k=1)
    if answer.source == FALLBACK:
        return FALLBACK
    given = {"source": answer.source, "label": answer.labels[0].label}
    return "" if given == expected else f"{picture}: {given} instead of {expected}"
