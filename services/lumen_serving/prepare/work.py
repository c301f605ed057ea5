"""What computing label vectors needs; without the runtime, which most starts do not load."""

from dataclasses import dataclass

from lumen_manifest.server_config import ServerConfig
from lumen_resources.progress import Progress
from lumen_resources.signals import StopRequest
from lumen_serving.settings import ServerSettings


@dataclass(frozen=True, slots=True)
class PrepareWork:
    """What the computation needs beside the model: settings, and who watches and stops it."""

    config: ServerConfig
    settings: ServerSettings
    progress: Progress
    stop: StopRequest
