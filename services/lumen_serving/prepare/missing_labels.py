"""What has to be computed before a server can rank labels, and who watches and stops that."""

from collections.abc import Iterator
from dataclasses import dataclass

from lumen_manifest.server_config import ServerConfig
from lumen_resources.labels import prepared_labels
from lumen_resources.labels.label_sets import Labels, load_labels
from lumen_resources.model.layouts import LabelSetFiles, VerifiedModel
from lumen_resources.progress import Progress
from lumen_resources.signals import StopRequest
from lumen_serving.settings import ServerSettings


@dataclass(frozen=True, slots=True)
class Missing:
    """A label set whose vectors are not there yet."""

    files: LabelSetFiles
    labels: Labels


@dataclass(frozen=True, slots=True)
class PrepareWork:
    """What the computation needs beside the model: settings, and who watches and stops it."""

    config: ServerConfig
    settings: ServerSettings
    progress: Progress
    stop: StopRequest


def find_missing(model: VerifiedModel) -> Iterator[Missing]:
    """Yield the label sets that have neither shipped nor computed vectors."""
    for files in model.label_sets:
        if files.embeddings is None:
            labels = load_labels(files)
            if prepared_labels.prepared(model, files, labels) is None:
                yield Missing(files, labels)
