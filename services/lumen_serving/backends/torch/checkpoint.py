"""The tensors of a checkpoint by name, each read when it is asked for: safetensors or pickles."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from lumen_resources.errors import ResourceValidationError
from lumen_serving.backends.torch.library import Tensor, pickled_tensors

_SAFETENSORS = ".safetensors"
# What training in parallel puts before each name.
_PARALLEL = "module."


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint holds: shapes by name, and `read` for the tensors themselves."""

    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], Tensor]

    def under(self, prefix: str) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the names that begin so, without that beginning."""
        return {n.removeprefix(prefix): s for n, s in self.shapes.items() if n.startswith(prefix)}


@contextmanager
def opened(path: Path) -> Iterator[Checkpoint]:
    """Yield the checkpoint in a file of the verified model.

    Raises ResourceValidationError when it holds anything but tensors.
    """
    if path.suffix != _SAFETENSORS:
        tensors = pickled_tensors(path)
        names = _plain_names(tensors)
        shapes = {name: tuple(tensors[at].shape) for name, at in names.items()}
        yield Checkpoint(shapes, lambda name: tensors[names[name]])
        return
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names = _plain_names(file.keys())
            shapes = {name: tuple(file.get_slice(at).get_shape()) for name, at in names.items()}
            yield Checkpoint(shapes, lambda name: file.get_tensor(names[name]))
    except SafetensorError as error:
        raise ResourceValidationError(
            f"{path.name} is not a safetensors file that can be read: {str(error)[:200]}.",
            remedy="Fetch it anew; if it stays, the source is damaged.",
            file=path.name,
        ) from error


def _plain_names(names: Mapping[str, Tensor] | list[str]) -> dict[str, str]:
    return {name.removeprefix(_PARALLEL): name for name in names}
