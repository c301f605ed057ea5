"""The names of everything we make: objects, labels, ports, paths and environment variables."""

import hashlib
import json
from typing import Any

GROUP = "lumen.dev"
VERSION = "v1alpha1"
FIELD_MANAGER = "lumen-operator"

STABLE_VARIANT = "stable"

GRPC_PORT = 50051
HEALTH_PORT = 50052
METRICS_PORT = 9090

CONFIG_DIR = "/etc/lumen"
CONFIG_PATH = f"{CONFIG_DIR}/server.json"
CACHE_DIR = "/var/lib/lumen"
SOURCE_DIR = "/mnt/source"
CLAIMS_DIR = "/mnt/claims"
LISTS_DIR = "/etc/lumen-names"
TMP_DIR = "/tmp"  # noqa: S108 - a volume of the pod's own
TERMINATION_LOG = "/dev/termination-log"

RESOURCES_CONTAINER = "resources"
PREPARE_CONTAINER = "prepare"
SERVER_CONTAINER = "server"

HEALTH_SERVICE = "home_native.v1.Inference"
LIVENESS_SERVICE = "liveness"

SERVICE_LABEL = f"{GROUP}/service"
FAMILY_LABEL = f"{GROUP}/family"
VARIANT_LABEL = f"{GROUP}/variant"
REVISION_LABEL = f"{GROUP}/revision"
CLIENT_LABEL = f"{GROUP}/client"
SECRET_ENV = {
    "LUMEN_SOURCE_TOKEN": "token",
    "LUMEN_SOURCE_ACCESS_KEY_ID": "access-key-id",
    "LUMEN_SOURCE_SECRET_ACCESS_KEY": "secret-access-key",
}
"""Variables of the init container, and the Secret's keys they come from."""
KEY_PREFIX = "LUMEN_SECRET_"
"""What every key of that Secret is called beside them, for no program to read."""

CACHE_LIMIT_ENV = "LUMEN_CACHE_LIMIT_BYTES"
"""How far a pod's own cache may grow; the container that fetches asks before it does."""
PINS_INFIX = "-pins-"
LABEL_PIN = "LUMEN_PINNED_LABEL_SETS"
PIN_ENV = {
    "LUMEN_PINNED_REVISION": "revision",
    "LUMEN_PINNED_DIGEST": "digest",
    LABEL_PIN: "labelSets",
}
"""Variables of every container, and the keys of the ConfigMap they come from once it exists."""


def list_file(label_set: str, field: str) -> str:
    """Name the file of a label set's list of names; `field` says which (include_from)."""
    return f"{label_set}.{field.partition('_')[0]}"


def digest_of(document: Any, length: int = 10) -> str:
    """Hash a JSON document; the same content gives the same lower-case hexadecimal digits."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:length]


def variant_name(service: str, variant: str = STABLE_VARIANT) -> str:
    """Name the Deployment and the headless Service of a variant.

    A variant's name has no hyphen, so the last hyphen tells the two apart.
    """
    return f"{service}-{variant}"


def attached_name(service: str) -> str:
    """Name what a service has one of: its autoscaler, disruption budget and network policy."""
    return f"{service}-lumen"


def config_map_name(service: str, content: Any) -> str:
    """Name the immutable ConfigMap by what it says: a change makes another."""
    return f"{service}-{digest_of(content)}"


def selector_labels(service: str, variant: str | None = None) -> dict[str, str]:
    """Select the pods of a service, or of one of its variants."""
    labels = {SERVICE_LABEL: service}
    if variant is not None:
        labels[VARIANT_LABEL] = variant
    return labels


def service_labels(service: str, family: str, variant: str | None = None) -> dict[str, str]:
    """Label a child of a service."""
    return {
        "app.kubernetes.io/name": "lumen",
        "app.kubernetes.io/instance": service,
        "app.kubernetes.io/component": "model-server",
        "app.kubernetes.io/part-of": "lumen",
        "app.kubernetes.io/managed-by": FIELD_MANAGER,
        FAMILY_LABEL: str(family),
        **selector_labels(service, variant),
    }


def selector_text(labels: dict[str, str]) -> str:
    """Write a selector as `status.selector` holds it for the scale subresource."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def endpoint_of(service: str, namespace: str, port: int = GRPC_PORT) -> str:
    """Address the headless Service from inside the cluster."""
    return f"{service}.{namespace}.svc:{port}"
