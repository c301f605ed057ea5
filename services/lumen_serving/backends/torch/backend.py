"""A model's own weights on torch: fp32, bf16 or fp16, on CPUs and on GPUs by CUDA or ROCm."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lumen_manifest.server_config import ServerConfig
from lumen_resources.model.layouts import ScoreRule, VerifiedModel
from lumen_serving.backends.base import BackendReport, BackendSettings, noise, unit_rows
from lumen_serving.backends.torch.devices import ComputeDevice, PlacedTower, open_device
from lumen_serving.backends.torch.library import (
    OUT_OF_MEMORY,
    TORCH,
    VERSION,
    PictureInput,
    dtype_of,
    vocabulary_of,
)
from lumen_serving.backends.torch.towers import open_model
from lumen_serving.errors import BackendUnavailable
from lumen_serving.settings import ServerSettings
from lumen_terms.modality import Modality

_TRIAL_ITEMS = 8


class TorchBackend:
    """open_clip's or transformers' own towers behind the contract of every runtime."""

    slots = 1
    batch_sizes: tuple[int, ...] = ()

    def __init__(self) -> None:
        self._placed: dict[Modality, PlacedTower] = {}
        self._vocabulary = 0
        self._report: BackendReport | None = None

    @classmethod
    def configured(cls, config: ServerConfig, settings: ServerSettings) -> Self:
        """Return one; torch has no options of its own."""
        del config, settings
        return cls()

    def load(self, model: VerifiedModel, settings: BackendSettings) -> None:
        """Build the towers, fill them, place them on the device and run each once.

        Raises:
            StartError, ResourceError: the device, the package or a file does not allow it.

        """
        device = open_device(TORCH, model.precision, settings)
        self.batch_sizes = device.batch_sizes
        opened = open_model(model, device.precision)
        towers = opened.towers
        trial = noise(model, _TRIAL_ITEMS)
        dims = set()
        for modality in sorted(towers):
            tower: Any = towers.pop(modality)
            if modality is Modality.IMAGE:
                picture = model.preprocess
                tower = PictureInput(tower, picture.mean, picture.std, dtype_of(device.precision))
            else:
                self._vocabulary = vocabulary_of(tower)
                trial[modality] %= self._vocabulary
            try:
                placed = device.place(tower.eval(), trial[modality])
                dims.add(placed.vectors(trial[modality][:1]).shape[1])
            except OUT_OF_MEMORY as error:
                raise BackendUnavailable(
                    f"The model does not fit into the memory of the device: {str(error)[:200]}",
                    remedy="Set spec.model.precision to fp16 or bf16, load one tower "
                    "(spec.model.towers), or raise spec.server.deviceMemoryMiB.",
                ) from error
            # Sizes that do not fit are found by the libraries in their own ways, by assertions too.
            except Exception as error:
                raise BackendUnavailable(
                    f"The tower for {modality.value}s loads but does not run: {str(error)[:300]}",
                    remedy="Compare the model's configuration and preprocessing with what its "
                    "weights were published with.",
                ) from error
            self._placed[modality] = placed
        if len(dims) > 1:
            raise BackendUnavailable(
                f"The towers give vectors of {min(dims)} and of {max(dims)} numbers, which cannot "
                "be compared.",
                remedy="Use the configuration that the weights were published with, or load one "
                "tower (spec.model.towers).",
            )
        self._report = self._describe(model, device, min(dims), opened.score)

    def embed_images(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return unit rows [N, dim] for RGB pictures [N, S, S, 3]."""
        return unit_rows(self._placed[Modality.IMAGE].vectors(images))

    def embed_texts(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return unit rows [N, dim] for token rows [N, L].

        Raises ValueError for a token that the model has not: on a GPU it would end the process's
        use of the device.
        """
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < self._vocabulary:
            raise ValueError(f"a token beyond the model's {self._vocabulary:,}")
        return unit_rows(self._placed[Modality.TEXT].vectors(tokens))

    def report(self) -> BackendReport:
        """Say what computes; only after `load`."""
        if self._report is None:
            raise RuntimeError("nothing is loaded")
        return self._report

    def close(self) -> None:
        """Drop the towers; their memory goes with them."""
        self._placed.clear()

    def _describe(
        self, model: VerifiedModel, device: ComputeDevice, dim: int, score: ScoreRule | None
    ) -> BackendReport:
        details = {
            f"{name}.{modality.value}s": text
            for modality, placed in self._placed.items()
            for name, text in placed.details.items()
        }
        return BackendReport(
            runtime="torch",
            version=VERSION,
            device=device.accelerator.value,
            precision=device.precision.value,
            dim=dim,
            details={**device.evidence, **details, "files": model.precision.value},
            score=score,
        )
