"""A backend without a model: for trials, tests and load measurements of everything around one.

Chosen by `LUMEN_BACKEND=fake`. Vectors are made from the bytes of each item alone, so the same
picture has the same vector in any batch; `LUMEN_FAKE_DELAY_MS` is how long a batch takes.
"""

import hashlib
import time
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lumen_manifest.server_config import ServerConfig
from lumen_resources.model.layouts import VerifiedModel
from lumen_serving.backends.base import BackendReport, BackendSettings
from lumen_serving.settings import ServerSettings


@dataclass(frozen=True, slots=True)
class FakeOptions:
    """How long a batch takes."""

    delay_ms: float = 0.0


class FakeBackend:
    """Deterministic unit vectors after a fixed delay per batch."""

    slots = 1
    batch_sizes: tuple[int, ...] = ()

    def __init__(self, options: FakeOptions = FakeOptions()) -> None:  # frozen
        self._dim = 0
        self._delay_s = options.delay_ms / 1000

    @classmethod
    def configured(cls, config: ServerConfig, settings: ServerSettings) -> Self:
        """Take the delay from the environment."""
        del config
        return cls(FakeOptions(settings.fake_delay_ms))

    def load(self, model: VerifiedModel, settings: BackendSettings) -> None:
        """Take the dimension from the model."""
        del settings
        self._dim = model.embedding_dim

    def embed_images(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return unit rows [N, dim] drawn from the bytes of each picture."""
        return self._vectors(b"image", [image.tobytes() for image in images])

    def embed_texts(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return unit rows [N, dim] drawn from the tokens of each text."""
        return self._vectors(b"text", [row.tobytes() for row in tokens])

    def report(self) -> BackendReport:
        """Say that nothing real computes."""
        return BackendReport(
            runtime="fake", version="1", device="fake", precision="fp32", dim=self._dim
        )

    def close(self) -> None:
        """Hold nothing, release nothing."""

    def _vectors(self, kind: bytes, items: list[bytes]) -> NDArray[np.float32]:
        # Stands for a device that is busy: it blocks the engine's thread as a real one would.
        time.sleep(self._delay_s)
        return np.stack([_unit_vector(kind + item, self._dim) for item in items])


def _unit_vector(data: bytes, dim: int) -> NDArray[np.float32]:
    """Return a unit vector [dim] that depends on nothing but the bytes."""
    seed = int.from_bytes(hashlib.sha256(data).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(dim)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)
