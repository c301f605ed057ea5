"""The NetworkPolicy of a service: who may ask its pods, and what its pods may ask."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from lumen_manifest import names
from lumen_manifest.render.context import Manifest, Rendering, child_metadata
from lumen_manifest.source_uri import all_sources
from lumen_process.addresses import LINKS, METADATA

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
COMPONENT_LABEL = "app.kubernetes.io/component"
_FORBIDDEN = (*LINKS, *METADATA)


def network_policy(rendering: Rendering) -> Manifest:
    """Render the policy over all variants."""
    service = rendering.service
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": child_metadata(service, names.attached_name(service.name)),
        "spec": {
            "podSelector": {"matchLabels": names.selector_labels(service.name)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": _ingress(rendering),
            "egress": _egress(rendering),
        },
    }


def _ingress(rendering: Rendering) -> list[Manifest]:
    context = rendering.context
    operator = {
        "namespaceSelector": _labelled({NAMESPACE_LABEL: context.operator_namespace}),
        "podSelector": _labelled({COMPONENT_LABEL: "operator"}),
    }
    callers = [
        {"podSelector": _labelled({COMPONENT_LABEL: "router"})},
        {"podSelector": _labelled({names.CLIENT_LABEL: "true"})},
        operator,
    ]
    monitoring = {"namespaceSelector": _labelled({NAMESPACE_LABEL: context.monitoring_namespace})}
    return [
        {"from": callers, "ports": [_port(names.GRPC_PORT), _port(names.METRICS_PORT)]},
        {"from": [monitoring], "ports": [_port(names.METRICS_PORT)]},
    ]


def _egress(rendering: Rendering) -> list[Manifest]:
    """Permit names and the source's ports; nothing when the files are read in place.

    Names are asked for anywhere: a node's own cache of them listens on the link.
    """
    ports = {source.fetch_port for source in all_sources(rendering.service.spec)} - {None}
    if not ports:
        return []
    ports |= _ports_in(rendering.context.source_env)
    dns = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
    fetch = [_port(port) for port in sorted(filter(None, ports))]
    return [dns, {"to": _sources(), "ports": fetch}]


def _sources() -> list[Manifest]:
    """Permit every address but those where a machine's link or its cloud answers.

    Pods are named beside: some networks do not count them among the addresses of a block.
    """
    blocks = [
        {"cidr": cidr, "except": [str(each) for each in _FORBIDDEN if each.version == version]}
        for cidr, version in (("0.0.0.0/0", 4), ("::/0", 6))
    ]
    return [*({"ipBlock": block} for block in blocks), {"namespaceSelector": {}}]


def _ports_in(source_env: Mapping[str, str]) -> set[int | None]:
    """Read the ports of mirrors and proxies that fetching goes through."""
    found: set[int | None] = set()
    for name, value in source_env.items():
        # This one is a host, as ModelScope's own tools read it.
        is_host = name == "MODELSCOPE_DOMAIN" and "://" not in value
        parts = urlsplit(f"https://{value}" if is_host else value)
        if parts.scheme in {"http", "https"}:
            found.add(parts.port or (80 if parts.scheme == "http" else 443))
    return found


def _labelled(labels: dict[str, str]) -> Manifest:
    return {"matchLabels": labels}


def _port(number: int) -> Manifest:
    return {"port": number, "protocol": "TCP"}
