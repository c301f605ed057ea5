"""`python -m lumen_serving prepare`: computes the label vectors that a model was shipped without.

Runs before the server, with its image and device, where the cache may be written. Rows are kept
as they are made, so a run that is stopped goes on where it was; with nothing to do, no runtime is
loaded. Ends like the init container `resources`: one JSON line, exit code 0, 1 or 143.
"""

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import structlog

from lumen_process import lifetime
from lumen_resources import termination
from lumen_resources.errors import ResourceError, StoppedError
from lumen_resources.fetch.fetch import open_verified
from lumen_resources.labels import prepared_labels
from lumen_resources.labels.label_sets import Labels, load_labels
from lumen_resources.model.layouts import LabelSetFiles, VerifiedModel
from lumen_resources.progress import FetchPhase, Progress
from lumen_resources.progress_page import shown
from lumen_resources.signals import StopRequest
from lumen_serving.errors import StartError
from lumen_serving.label_index.codes import CodeCache
from lumen_serving.prepare.work import PrepareWork
from lumen_serving.settings import ServerSettings

# Below, the server searches without codes: `index.SMALL_ROWS`, whose module loads the runtime.
CODED_ROWS = 4096
FAILED = 1

log = structlog.get_logger(__name__)


def main() -> None:
    """Compute what is missing, say how it went, and end the process."""
    lifetime.die_with_parent()
    sys.exit(_run(Path(os.environ.get("LUMEN_TERMINATION_LOG", "/dev/termination-log"))))


def _run(termination_log: Path) -> int:
    try:
        with StopRequest() as stop:
            model = _prepare(ServerSettings.from_environment(), stop)
    except StoppedError as error:
        termination.write(termination_log, termination.failure_line(error))
        log.warning("stopped", kept="the rows computed so far")
        return error.exit_code
    except (ResourceError, StartError) as error:
        termination.last_words(termination_log, error, "label vectors refused")
        return FAILED
    termination.write(termination_log, termination.success_line(model))
    return 0


def _prepare(settings: ServerSettings, stop: StopRequest) -> VerifiedModel:
    config = settings.read_config()
    settings.configure_logs(config.server.log_level)
    progress = Progress()
    with shown(progress, settings.bind, settings.metrics_port):
        model = open_verified(config, settings.cache_dir, settings.source_dir)
        missing = list(find_missing(model))
        uncoded = [files for files in model.label_sets if _lacks_codes(model, files)]
        if missing or uncoded:
            # The runtime is loaded by this module: most starts have nothing to compute.
            vectors = importlib.import_module("lumen_serving.prepare.label_vectors")
            if missing:
                work = PrepareWork(config, settings, progress, stop)
                vectors.compute(model, missing, work)
            for files in uncoded:
                stop.check()
                vectors.keep_codes(model, files)
        else:
            log.info("label vectors are there", label_sets=len(model.label_sets))
    progress.begin(FetchPhase.DONE)
    return model


def _lacks_codes(model: VerifiedModel, files: LabelSetFiles) -> bool:
    """Whether the server, whose cache is read-only, would have to make the search codes itself."""
    if CodeCache.of(model, files).holds():
        return False
    return len(load_labels(files)) >= CODED_ROWS


def find_missing(model: VerifiedModel) -> Iterator[tuple[LabelSetFiles, Labels]]:
    """Yield the label sets that have neither shipped nor computed vectors."""
    for files in model.label_sets:
        if files.embeddings is None:
            labels = load_labels(files)
            if prepared_labels.prepared(model, files, labels) is None:
                yield files, labels
