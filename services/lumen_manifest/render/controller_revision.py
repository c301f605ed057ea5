"""ControllerRevisions: the last specs of a service, to return to."""

from lumen_manifest.model_service import LumenModelService
from lumen_manifest.names import digest_of
from lumen_manifest.render.context import Manifest
from lumen_manifest.render.metadata import child_metadata
from lumen_manifest.render.once import once

KEPT = 5
NOT_A_REVISION = frozenset({"replicas", "autoscaling", "aliases", "default", "rollout"})
"""Fields that change no pod: they neither make a revision nor are they rolled back."""


@once
def revision_name(service: LumenModelService) -> str:
    """Name the revision by what decides its pods: equal specs are one revision."""
    return f"{service.name}-{digest_of(_revised(service))}"


def controller_revision(service: LumenModelService, number: int) -> Manifest:
    """Render the stored spec; `number` counts up and orders the revisions."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": child_metadata(service, revision_name(service)),
        "revision": number,
        "data": {"spec": _revised(service)},
    }


def _revised(service: LumenModelService) -> Manifest:
    spec = service.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {key: value for key, value in spec.items() if key not in NOT_A_REVISION}
