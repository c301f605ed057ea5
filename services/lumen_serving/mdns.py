"""What a model server announces on the local network, as its configuration says."""

import importlib.metadata
import uuid
from typing import TYPE_CHECKING

from lumen_process.mdns import Announcement, choose_address, unique_instance
from lumen_serving.settings import ServerSettings

if TYPE_CHECKING:
    from lumen_manifest.server_config import ServerConfig


def announcement(
    config: "ServerConfig", settings: ServerSettings, port: int
) -> Announcement | None:
    """Return what the configuration wants announced, None when it wants nothing."""
    spec = config.mdns
    if spec is None or not spec.enabled:
        return None
    identity = spec.uuid or str(uuid.uuid4())
    version = spec.version or importlib.metadata.version("lumen-serve")
    return Announcement(
        types=tuple(name.strip() for name in spec.type.split(",") if name.strip()),
        instance=unique_instance(spec.name or config.service, identity),
        address=choose_address(settings.advertise_ip or spec.advertise_ip, settings.bind),
        port=port,
        properties={
            "uuid": identity,
            "status": spec.status,
            "version": version,
            "v": version,
            "runtime": config.model.runtime.value,
        },
    )
