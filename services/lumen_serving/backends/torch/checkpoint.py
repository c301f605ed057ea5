"""The tensors of a checkpoint by name, each read when it is asked for: safetensors or pickles."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from lumen_resources.errors import ResourceValidationError
from lumen_resources.model.scores import PARALLEL
from lumen_serving.backends.torch.library import Tensor, pickled_tensors

SAFETENSORS = ".safetensors"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint holds: shapes by name, and `read` for the tensors themselves."""

    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], Tensor]

    def under(self, prefix: str) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the names that begin so, without that beginning."""
        return {n.removeprefix(prefix): s for n, s in self.shapes.items() if n.startswith(prefix)}


@contextmanager
def opened(paths: Sequence[Path]) -> Iterator[Checkpoint]:
    """Yield the checkpoint in a file of the verified model, or in its shards.

    Raises ResourceValidationError when one holds anything but tensors.
    """
    with ExitStack() as stack:
        parts = [stack.enter_context(_opened_one(path)) for path in paths]
        owners = {name: part for part in parts for name in part.shapes}
        if len(owners) < sum(len(part.shapes) for part in parts):
            raise ResourceValidationError(
                f"Two of the shards {paths[0].name} to {paths[-1].name} hold the same tensor.",
                remedy="Take all shards from one revision of the repository.",
                file=paths[0].name,
            )
        shapes = {name: part.shapes[name] for name, part in owners.items()}
        yield Checkpoint(shapes, lambda name: owners[name].read(name))


@contextmanager
def _opened_one(path: Path) -> Iterator[Checkpoint]:
    if path.suffix != SAFETENSORS:
        tensors = pickled_tensors(path)
        names = _plain_names(tensors, path)
        shapes = {name: tuple(tensors[at].shape) for name, at in names.items()}
        yield Checkpoint(shapes, lambda name: tensors[names[name]])
        return
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names = _plain_names(file.keys(), path)
            shapes = {name: tuple(file.get_slice(at).get_shape()) for name, at in names.items()}
            yield Checkpoint(shapes, lambda name: file.get_tensor(names[name]))
    except SafetensorError as error:
        raise ResourceValidationError(
            f"{path.name} is not a safetensors file that can be read: {str(error)[:200]}.",
            remedy="Fetch it anew; if it stays, the source is damaged.",
            file=path.name,
        ) from error


def _plain_names(names: Iterable[str], path: Path) -> dict[str, str]:
    plain: dict[str, str] = {}
    for name in names:
        if plain.setdefault(name.removeprefix(PARALLEL), name) != name:
            raise ResourceValidationError(
                f"{path.name} holds {name.removeprefix(PARALLEL)[:200]} twice, once with "
                f"{PARALLEL!r} before it.",
                remedy="Use the weights as they were published.",
                file=path.name,
            )
    return plain
