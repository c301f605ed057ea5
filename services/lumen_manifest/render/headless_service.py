"""The headless Service of a variant: its EndpointSlices are what the router watches."""

from lumen_manifest import names
from lumen_manifest.render.context import Manifest, Rendering
from lumen_manifest.render.metadata import child_metadata


def headless_service(rendering: Rendering) -> Manifest:
    """Render the variant's headless Service."""
    service, variant = rendering.service, rendering.context.variant
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": child_metadata(service, names.variant_name(service.name, variant), variant),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "publishNotReadyAddresses": False,
            "selector": names.selector_labels(service.name, variant),
            "ports": [
                _port("grpc", names.GRPC_PORT, "kubernetes.io/h2c"),
                _port("metrics", names.METRICS_PORT, "http"),
            ],
        },
    }


def _port(name: str, number: int, protocol: str) -> Manifest:
    return {
        "name": name,
        "port": number,
        "targetPort": number,
        "protocol": "TCP",
        "appProtocol": protocol,
    }
