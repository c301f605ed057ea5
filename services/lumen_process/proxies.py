"""Which proxy the environment puts on the way to an address, by the rules of whoever goes there.

This machine is never asked through one: nothing out there could find the way back. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from lumen_process.addresses import host_port, is_this_machine

_GRPC = ("grpc_proxy", "https_proxy", "http_proxy")
_NOT_GRPC = ("no_grpc_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and the variable that names it."""

    variable: str
    url: str

    def __str__(self) -> str:
        """Return the proxy as it may be shown: without a name and a password."""
        try:
            parts = urlsplit(self.url)
            place = host_port(parts.hostname or "", parts.port) if parts.port else parts.hostname
        except ValueError:
            place = "an address that cannot be read"
        return f"{place} ({self.variable})"


def grpc_proxy(host: str, env: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that gRPC's core asks for `host`: lower-case names, ends of host names."""
    variable = next((name for name in _GRPC if name in env), None)
    if variable is None or not env[variable].startswith("http://") or is_this_machine(host):
        return None
    excepted = next((env[name] for name in _NOT_GRPC if name in env), "")
    bare = host.strip("[]").lower()
    if any(bare.endswith(each.lower()) or _within(bare, each) for each in _entries(excepted)):
        return None
    return Proxy(variable, env[variable])


def web_proxy(url: str, env: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for `url` as kubectl and most programs choose it."""
    parts = urlsplit(url)
    upper = f"{parts.scheme}_proxy".upper()
    variable = next((name for name in (upper, upper.lower()) if env.get(name)), None)
    host = (parts.hostname or "").lower()
    if variable is None or is_this_machine(host):
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    excepted = env.get("NO_PROXY") or env.get("no_proxy") or ""
    if any(_excepts(each.lower(), host, port) for each in _entries(excepted)):
        return None
    address = env[variable]
    return Proxy(variable, address if "://" in address else f"http://{address}")


def _entries(excepted: str) -> list[str]:
    return [each.strip() for each in excepted.split(",") if each.strip()]


def _excepts(entry: str, host: str, port: int) -> bool:
    """Whether one entry of NO_PROXY means the host: all, a network, a name with all below it."""
    if entry == "*" or _within(host, entry):
        return True
    name, colon, only_port = entry.rpartition(":")
    if colon and only_port.isdigit() and (":" not in name or name.endswith("]")):
        if int(only_port) != port:
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*")
    return host == entry or host.endswith(entry if entry.startswith(".") else f".{entry}")


def _within(host: str, network: str) -> bool:
    try:
        return ip_address(host) in ip_network(network.strip("[]"), strict=False)
    except ValueError:
        return False
