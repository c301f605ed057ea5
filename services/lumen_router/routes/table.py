"""`Routes`: every service behind this router, who is meant by a name, and where its pods are.

A frozen table, built anew from the LumenModelServices and their endpoints whenever these change:
by `from_file` or by `from_cluster`. Pure; it knows no connection and no pod's state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lumen_manifest.caller_names import CallerNames, Claimant
from lumen_manifest.spec.enums import Family
from lumen_manifest.spec.model_spec import ScenesSpec
from lumen_router.errors import (
    NoServiceOfFamily,
    ServiceNotRouted,
    TaskNotRouted,
    TaskOfAnotherFamily,
)
from lumen_wire import tasks
from lumen_wire.meta import quoted
from lumen_wire.tasks import TaskKind


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One pod's address, as its EndpointSlice says it: `ready` if it serves, also while leaving."""

    address: str
    ready: bool = True
    terminating: bool = False

    @property
    def takes_calls(self) -> bool:
        """Whether new calls may go there."""
        return self.ready and not self.terminating

    @property
    def is_last_resort(self) -> bool:
        """Whether new calls may go there while the service has no other pod."""
        return self.ready and self.terminating


@dataclass(frozen=True, slots=True)
class Route:
    """One variant of a service: its share of the calls, its space, its pods."""

    variant: str
    weight: int
    embedding_space: str
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class Service:
    """One LumenModelService as the router sees it.

    `embedding_space` is empty while nobody has said it. `reason` and `message` say why it is not
    ready, empty when it is. `created` orders services by age, oldest first.
    """

    name: str
    family: Family
    aliases: tuple[str, ...] = ()
    default: bool = False
    model: str = ""
    created: tuple[str, int] = ("", 0)
    embedding_space: str = ""
    reason: str = ""
    message: str = ""
    routes: tuple[Route, ...] = ()
    scenes: ScenesSpec = field(default_factory=ScenesSpec)


@dataclass(frozen=True, slots=True)
class RouteTarget:
    """What a task name means: a service, the kind of work, and the name its pods know it by."""

    service: Service
    kind: TaskKind
    pod_task: str


@dataclass(frozen=True, slots=True)
class Routes:
    """The table. `services` are in order of age; the maps are derived by `build`."""

    services: tuple[Service, ...]
    names: Mapping[str, Service]
    defaults: Mapping[Family, Service]
    own_tasks: Mapping[str, tuple[Service, TaskKind]]

    def find(self, name: str) -> Service:
        """Return the service that callers call `name`: an alias, a service, or a family.

        Raises ServiceNotRouted with the names that are known.
        """
        service = self.names.get(name)
        if service is None:
            known = ", ".join(sorted(self.names)) or "none yet"
            raise ServiceNotRouted(f"no service {quoted(name)} here. Known: {known}")
        return service

    def default_of(self, family: Family) -> Service:
        """Return the family's default service; raises NoServiceOfFamily."""
        service = self.defaults.get(family)
        if service is None:
            raise NoServiceOfFamily(
                f"no {family} service is served here. Apply a LumenModelService of that family"
            )
        return service

    def resolve(self, task: str, service_name: str | None) -> RouteTarget:
        """Return what a task name means, with `meta["service"]` if the caller gave one.

        Raises TaskNotRouted, ServiceNotRouted, TaskOfAnotherFamily, NoServiceOfFamily.
        """
        asked = self.find(service_name) if service_name else None
        kind = tasks.unprefixed(task)
        if kind is not None:
            return target_of(asked or self.default_of(Family.CLIP), kind)
        named = tasks.canonical(task)
        if named is not None and named.family is not None:
            family = Family(named.family)
            _agree(task, family, asked)
            return target_of(asked or self.default_of(family), named.kind)
        own = self.own_tasks.get(task)
        if own is None:
            raise TaskNotRouted(f"Unknown task: {task[:80]}")
        if asked is not None and asked.name != own[0].name:
            raise TaskOfAnotherFamily(
                f'task {task} is of service {own[0].name}, meta["service"] says {asked.name}'
            )
        return target_of(*own)

    def is_first(self, service: Service) -> bool:
        """Tell whether the service carries its family's canonical task names."""
        first = self.defaults.get(service.family)
        return first is not None and first.name == service.name


def build(services: Sequence[Service]) -> Routes:
    """Build the table from services in any order."""
    by_age = tuple(sorted(services, key=lambda service: (service.created, service.name)))
    known = {service.name: service for service in by_age}
    callers = CallerNames(map(_claimant, by_age))
    names = {name: known[owner] for name, owner in callers.owners().items()}
    firsts = {family: callers.default_of(family) for family in Family}
    defaults = {family: known[first.name] for family, first in firsts.items() if first is not None}
    return Routes(by_age, names, defaults, _own_tasks(by_age))


def _claimant(service: Service) -> Claimant:
    return Claimant(
        service.name,
        service.family,
        service.aliases,
        service.default,
        service.model,
        service.created,
    )


def advertised_names(routes: Routes, service: Service, kind: TaskKind) -> tuple[str, ...]:
    """Return every name under which the router advertises this work of this service.

    A family's first service carries the canonical name and the aliases, CLIP's the names without
    a prefix too; another service carries its own prefix. No name is advertised twice.
    """
    if not routes.is_first(service):
        return tuple(
            name
            for name, (owner, own_kind) in routes.own_tasks.items()
            if owner.name == service.name and own_kind is kind
        )
    return tuple(
        name
        for task in tasks.TASKS
        if task.family == service.family and task.kind is kind
        for name in (task.name, *task.aliases)
    )


def target_of(service: Service, kind: TaskKind) -> RouteTarget:
    """Return a kind of work of a service; raises TaskNotRouted when its family offers none."""
    return RouteTarget(service, kind, pod_task(service.family, kind))


def pod_task(family: Family, kind: TaskKind) -> str:
    """Return the canonical name by which any model server of the family knows the work."""
    task = tasks.task_for(family, kind)
    if task is None:
        raise TaskNotRouted(f"Unknown task: {family} services offer no {kind}")
    return task.name


def _agree(task: str, family: Family, asked: Service | None) -> None:
    if asked is not None and asked.family is not family:
        raise TaskOfAnotherFamily(
            f'task {task} is of family {family}, meta["service"] names {asked.name}, '
            f"which is of family {asked.family}"
        )


def _own_tasks(by_age: Sequence[Service]) -> dict[str, tuple[Service, TaskKind]]:
    table: dict[str, tuple[Service, TaskKind]] = {}
    for service in by_age:
        kinds = {task.kind for task in tasks.TASKS if task.family == service.family}
        for name, kind in tasks.service_prefixed(service.name, service.family, kinds).items():
            if tasks.canonical(name) is None and tasks.unprefixed(name) is None:
                table.setdefault(name, (service, kind))
    return table
