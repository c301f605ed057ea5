"""What of the router's Service is announced by mDNS: which address, which port. Pure."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class AnnouncedEndpoint:
    """An address and a port that machines outside the cluster reach; the address is an IP."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class NotAnnounced:
    """There is none, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class AnnouncementOverrides:
    """What the settings say instead of the Service: "" and 0 where they say nothing."""

    address: str = ""
    port: int = 0


def reach_of(
    service: Mapping[str, Any], node_ip: str, told: AnnouncementOverrides = AnnouncementOverrides()
) -> AnnouncedEndpoint | NotAnnounced:
    """Read a Service as the API server gives it.

    A load balancer's address is announced; with a node port it is the node's own.
    """
    spec, port = service.get("spec") or {}, _port(service)
    if port is None:
        return NotAnnounced("the Service has no port named grpc")
    if told.address:
        return AnnouncedEndpoint(told.address, told.port or int(port.get("port", 0)))
    balanced = _balancer_ip(service)
    if balanced:
        return AnnouncedEndpoint(balanced, told.port or int(port.get("port", 0)))
    if spec.get("type") == "NodePort" and port.get("nodePort"):
        return AnnouncedEndpoint(node_ip, told.port or int(port["nodePort"]))
    return NotAnnounced(_why(str(spec.get("type", ""))))


def _port(service: Mapping[str, Any]) -> Mapping[str, Any] | None:
    ports = (service.get("spec") or {}).get("ports") or []
    return next((port for port in ports if port.get("name") == "grpc"), None)


def _balancer_ip(service: Mapping[str, Any]) -> str:
    """Return the balancer's first IP address; mDNS cannot announce a name that is not its own."""
    balancer = (service.get("status") or {}).get("loadBalancer") or {}
    for entry in balancer.get("ingress") or []:
        try:
            return str(ipaddress.ip_address(entry.get("ip", "")))
        except ValueError:
            continue
    return ""


def _why(kind: str) -> str:
    if kind == "LoadBalancer":
        return "the load balancer has given the Service no IP address yet"
    return f"a Service of type {kind} is reached from inside the cluster only"
