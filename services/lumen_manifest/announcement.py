"""What a server or a router announces on the local network, by its configuration."""

import importlib.metadata
import uuid
from typing import TYPE_CHECKING

from lumen_process.mdns import Announcement, choose_address, unique_instance

if TYPE_CHECKING:
    from lumen_manifest.server_config import MdnsSpec


def announcement_of(
    spec: "MdnsSpec | None",
    name: str,
    runtime: str,
    listens: tuple[str, int],
    advertise_ip: str = "",
) -> Announcement | None:
    """Return what is announced of who listens at a host and port, None when nothing is asked for.

    `name` is taken where the configuration has none; `advertise_ip` goes before its own.
    """
    if spec is None or not spec.enabled:
        return None
    bind, port = listens
    identity = spec.uuid or str(uuid.uuid4())
    version = spec.version or importlib.metadata.version("lumen-serve")
    return Announcement(
        types=tuple(kind.strip() for kind in spec.type.split(",") if kind.strip()),
        instance=unique_instance(spec.name or name, identity),
        address=choose_address(advertise_ip or spec.advertise_ip, bind),
        port=port,
        properties={
            "uuid": identity,
            "status": spec.status,
            "version": version,
            "v": version,
            "runtime": runtime,
        },
    )
