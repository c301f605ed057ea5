"""Records a golden set in a folder that is being prepared: `lumen resources verify --write FOLDER`.

The reference is torch in fp32 where it is installed and the folder has the checkpoint, else the
folder's own fp32 graphs on ONNX Runtime.
"""

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from lumen_manifest.server_config import ServerConfig
from lumen_manifest.spec.enums import OnnxEngine, Precision, Runtime
from lumen_manifest.spec.model_spec import ModelSpec
from lumen_resources.errors import FileMissingError, RuntimeNotSupportedError
from lumen_resources.fetch.local_model import InPlace
from lumen_resources.fetch.recording import write_golden_set
from lumen_resources.model.layouts import VerifiedModel
from lumen_resources.progress import FetchPhase, Progress
from lumen_serving.errors import BackendUnavailable
from lumen_serving.media.text import Tokenizer
from lumen_serving.settings import ServerSettings
from lumen_serving.startup.load import on_its_device
from lumen_serving.startup.probe import probe_texts
from lumen_serving.startup.reference import recorded
from lumen_terms.modality import Modality

_REFERENCES = (
    ModelSpec(name="reference", runtime=Runtime.TORCH, precision=Precision.FP32),
    ModelSpec(
        name="reference",
        runtime=Runtime.ONNX,
        precision=Precision.FP32,
        engine=OnnxEngine.ONNXRUNTIME,
    ),
)


def record_in_folder(folder: Path, progress: Progress) -> str:
    """Write a golden set into a folder whose digests are recorded; return by what it was computed.

    Empty where the folder has one that is of its files. Raises ResourceError, StartError; no set
    is written then, and BackendUnavailable says which runtime there is none of.
    """
    missing = []
    for spec in _REFERENCES:
        config = ServerConfig.of_model("reference", spec)
        with TemporaryDirectory() as cache:
            try:
                model = InPlace(config, Path(cache), folder).verify(progress)
            except (RuntimeNotSupportedError, FileMissingError) as error:
                missing.append(error.message)
                continue
            if model.parity is not None:
                return ""
            progress.begin(FetchPhase.CHECKING)
            progress.at(f"a golden set by {spec.runtime.value}")
            try:
                return _written(folder, config, model)
            except BackendUnavailable as error:
                missing.append(error.message)
    raise BackendUnavailable(
        " ".join(missing),
        remedy="Record one where torch or ONNX Runtime computes the model: "
        "pip install 'lumen-serve[torch]'.",
    )


def _written(folder: Path, config: ServerConfig, model: VerifiedModel) -> str:
    with closing(on_its_device(model, config, ServerSettings.from_environment({}))) as backend:
        if Modality.TEXT in model.modalities:
            probe_texts(backend, Tokenizer.load(model))
        parity, files = recorded(model, backend)
    write_golden_set(folder, parity, files)
    return parity.reference.by if parity.reference else ""
