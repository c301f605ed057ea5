"""metadata of a child: name, namespace, labels, owner."""

from lumen_manifest.model_service import LumenModelService
from lumen_manifest.names import service_labels
from lumen_manifest.render.context import Manifest


def child_metadata(service: LumenModelService, name: str, variant: str | None = None) -> Manifest:
    """Write a child's metadata; the owner reference makes it go when the service goes."""
    metadata: Manifest = {
        "name": name,
        "namespace": service.metadata.namespace,
        "labels": service_labels(service.name, service.spec.family, variant),
    }
    if service.metadata.uid:
        metadata["ownerReferences"] = [
            {
                "apiVersion": service.api_version,
                "kind": service.kind,
                "name": service.name,
                "uid": service.metadata.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
    return metadata
