"""Pinned files: the first verified pod's commit and digest are what every later pod fetches."""

from collections.abc import Iterable

from lumen_manifest.model_service import LumenModelService
from lumen_manifest.names import RESOURCES_CONTAINER
from lumen_manifest.pod_reports import Verified, parse_termination, verified_of
from lumen_manifest.render.config_map import model_digest, pins_name_of
from lumen_manifest.render.context import Pinned
from lumen_operator.observe import Observed, PinView
from lumen_operator.views import PodView


def verified_by(pod: PodView) -> Verified | None:
    """Return what a pod's init container verified; None until it has."""
    container = pod.container(RESOURCES_CONTAINER)
    if container is None or container.ended is None or not container.succeeded:
        return None
    found = verified_of(parse_termination(container.ended.message.encode()))
    return found if found.digest else None


def pinned_for(observed: Observed, service: LumenModelService) -> Pinned | None:
    """Return the pin of a service's files; None until a pod has verified them.

    A pin that is recorded never changes. The commit also holds for the same model with other label
    sets, whose digest only their own first pod can tell.
    """
    name = pins_name_of(service)
    recorded = observed.pins.get(name)
    if recorded is not None and recorded.digest:
        return _pinned(recorded)
    commit = recorded or _of_model(observed.pins.values(), model_digest(service))
    first = _first_verified(observed.pods, name, commit.revision if commit else None)
    if first is not None:
        return Pinned(first.revision, first.digest, first.embedding_space)
    return Pinned(commit.revision, "", commit.embedding_space) if commit else None


def space_of(observed: Observed, pod: PodView) -> str:
    """Return the embedding space of a pod's files, empty while it is unknown."""
    verified = verified_by(pod)
    if verified is not None and verified.embedding_space:
        return verified.embedding_space
    recorded = observed.pins.get(pod.pins)
    return recorded.embedding_space if recorded is not None and recorded.digest else ""


def _pinned(pin: PinView) -> Pinned:
    return Pinned(pin.revision, pin.digest, pin.embedding_space)


def _of_model(pins: Iterable[PinView], model: str) -> PinView | None:
    same = [pin for pin in pins if pin.model == model and pin.revision]
    return min(same, key=lambda pin: pin.name, default=None)


def _first_verified(pods: Iterable[PodView], pins: str, commit: str | None) -> Verified | None:
    """Return what the oldest pod with these pins verified, at the commit if there is one."""
    found = (verified_by(pod) for pod in pods if pod.pins == pins)
    return next((v for v in found if v is not None and commit in {None, v.revision}), None)
