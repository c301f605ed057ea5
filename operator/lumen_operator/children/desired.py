"""The children that a service shall have, against those that are observed. Pure.

Rendering and comparing is most of what a decision costs, and most decisions are about children that
are as they should be. What `Memory` keeps, it tells only where everything that the comparison was
made from is the same: with or without it, the answer is the same.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lumen_cluster.kinds import CONFIG_MAPS, DEPLOYMENTS, Raw, Ref
from lumen_manifest.conditions import ConditionType, Reason
from lumen_manifest.model_service import LumenModelService
from lumen_manifest.names import PINS_INFIX
from lumen_manifest.render.children import render
from lumen_manifest.render.context import Images, Manifest, Pinned, RenderContext, Rendering
from lumen_manifest.render.records import controller_revision, pins_config_map
from lumen_operator.children.ownership import taken_by_other
from lumen_operator.children.subset import contained
from lumen_operator.diagnose.finding import Finding, find
from lumen_operator.observe import decode
from lumen_operator.observe.gather import Child, Observed
from lumen_operator.observe.kinds import kind_of
from lumen_operator.observe.managed_fields import has_leftovers, rival_of
from lumen_operator.observe.networks import ExternalNetworks
from lumen_operator.rollout.model import Rollout
from lumen_operator.rollout.pins import number_of, outdated, pinned_for, restored


@dataclass(frozen=True, slots=True)
class OperatorContext:
    """What the operator's settings say about every service."""

    images: Images = field(default_factory=Images)
    operator_namespace: str = "lumen"
    monitoring_namespace: str = "monitoring"
    source_env: Mapping[str, str] = field(default_factory=dict)
    external_networks: ExternalNetworks = field(default_factory=ExternalNetworks)
    drain_delay_s: int = 5
    grace_s: int = 25


@dataclass(frozen=True, slots=True)
class DesiredChildren:
    """All that the children are rendered from: equal ones give equal manifests.

    `service` is the spec as it is now, `number` that of its revision. `variants` has what runs; of
    the first it is another service than `service` while an earlier revision runs. `found` is then
    what the first pod of the spec's own revision found.
    """

    service: LumenModelService | None
    number: int
    variants: tuple[Rendering, ...]
    found: Pinned | None


def wanted(
    observed: Observed, rollouts: Sequence[Rollout], context: OperatorContext
) -> DesiredChildren:
    """Gather what the children of a service are rendered from, the stable variant's first."""
    service, stable = observed.service, rollouts[0]
    earlier = service is not None and stable.target.revision != stable.current
    return DesiredChildren(
        service=service,
        number=number_of(observed.revisions, stable.current),
        variants=tuple(
            Rendering(each.target.service, each.target.pool, _render_context(each, context))
            for each in rollouts
        ),
        found=pinned_for(observed, service) if service is not None and earlier else None,
    )


def render_children(wanted: DesiredChildren) -> tuple[Manifest, ...]:
    """Render every child, in the order in which to apply.

    What a service has one of is the first variant's, and what two variants share is rendered once.
    """
    first, *others = (render(v.service, v.pool, context=v.context) for v in wanted.variants)
    found = [*_of_the_spec(wanted), *first.all]
    for other in others:
        own = (other.config_map, other.pins, *other.services, *other.deployments)
        found += [each for each in own if each is not None and each not in found]
    return tuple(found)


def to_delete(
    observed: Observed,
    rendered: Collection[Child],
    applied: Collection[Manifest],
    rollouts: Sequence[Rollout],
) -> tuple[Ref, ...]:
    """Return our own children that nothing needs any more.

    `rendered` names those that there shall be, `applied` has those of them that are not as they
    should be. There are no `rollouts` when the service runs elsewhere: then nothing is needed.
    """
    kept = _names_in_use(observed, rollouts) if rollouts else frozenset()
    waits = bool(rollouts) and not _is_settled(observed, applied, rollouts)
    return tuple(
        Ref(plural, observed.key.namespace, name, decode.text(metadata, "uid"))
        for plural, name, metadata in _own(observed)
        if (plural, name) not in rendered
        and name not in kept
        and not (waits and plural == CONFIG_MAPS.plural)
    )


def _render_context(rollout: Rollout, context: OperatorContext) -> RenderContext:
    return RenderContext(
        images=context.images,
        pinned=rollout.pinned,
        surge=rollout.surge,
        missing=rollout.missing,
        replicas=rollout.replicas,
        revision=rollout.target.revision,
        variant=rollout.target.name,
        source_env=context.source_env,
        operator_namespace=context.operator_namespace,
        monitoring_namespace=context.monitoring_namespace,
        drain_delay_s=context.drain_delay_s,
        grace_s=context.grace_s,
    )


def _of_the_spec(wanted: DesiredChildren) -> Iterator[Manifest]:
    """Render what belongs to the spec as it is now, whichever revision runs.

    That is its revision, and what its first pod found if that pod has to go: the embedding space
    that it would bring is known by it.
    """
    service, runs = wanted.service, wanted.variants[0]
    if service is None:
        return
    yield controller_revision(service, wanted.number)
    pins = pins_config_map(Rendering(service, runs.pool, RenderContext(pinned=wanted.found)))
    if pins is not None and pins["metadata"]["name"] != runs.service.pins_name:
        yield pins


def _own(observed: Observed) -> Iterator[tuple[str, str, Raw]]:
    """Yield kind, name and metadata of the children that this service controls."""
    uid = decode.text(decode.mapping(observed.raw, "metadata"), "uid")
    for (plural, name), stored in sorted(observed.children.items(), key=lambda each: each[0]):
        metadata = decode.mapping(stored, "metadata")
        owners = decode.items(metadata, "ownerReferences")
        controlled = any(
            decode.text(owner, "uid") == uid and owner.get("controller") is True for owner in owners
        )
        if controlled and not metadata.get("deletionTimestamp"):
            yield plural, name, metadata


def _is_settled(
    observed: Observed, applied: Collection[Manifest], rollouts: Iterable[Rollout]
) -> bool:
    """Return whether the ReplicaSets that are observed are all that the Deployments ask for.

    Before, one may be in the making that needs a ConfigMap which nobody seems to use.
    """
    for rollout in rollouts:
        deployment = observed.variant(rollout.target.name).deployment
        if deployment is None or deployment.observed_generation < deployment.generation:
            return False
    return not any(DEPLOYMENTS.describes(each) for each in applied)


def _names_in_use(observed: Observed, rollouts: Sequence[Rollout]) -> frozenset[str]:
    """Return the ConfigMaps and revisions that pods, ReplicaSets or a way back still need."""
    needed = {name for r in rollouts for name in (r.current, r.target.revision, r.stable)}
    old = {each.name for each in outdated(observed.revisions, needed)}
    return frozenset(
        {
            *(each.name for each in observed.revisions if each.name not in old),
            *(name for user in observed.pods for name in user.config_maps),
            *(name for user in observed.replica_sets for name in user.config_maps),
            *_pins_in_use(observed, rollouts[0]),
        }
    )


def _pins_in_use(observed: Observed, rollout: Rollout) -> Iterator[str]:
    """Name the pins of the stable revision: going back must find the very same files."""
    service = observed.service
    if service is None or not any(PINS_INFIX in name for _, name in observed.children):
        return
    yield service.pins_name
    if rollout.stable and rollout.stable != rollout.current:
        stable = restored(service, observed.revisions, rollout.stable)
        if stable is not None:
            yield stable.pins_name


class Comparison(NamedTuple):
    """What comparing the children came to.

    `rendered` names those that there shall be, `apply` has those of them that differ from what is
    observed, `taken` says who else applies a field of ours. `foreign` says whose an object is that
    has a child's name and is somebody else's: then nothing is to be applied.
    """

    rendered: frozenset[Child]
    apply: tuple[Manifest, ...]
    taken: Finding | None
    foreign: Finding | None = None


class _Rest(NamedTuple):
    """Children that are as they should be: what was wanted and observed, and what that came to."""

    wanted: DesiredChildren
    children: Mapping[Child, Raw]
    found: Comparison


class Memory:
    """The last comparison of one service's children, if it found nothing to apply.

    What is observed must be replaced, never changed: `Cache` promises it.
    """

    def __init__(self) -> None:
        self._rest: _Rest | None = None

    def compare(self, children: Mapping[Child, Raw], wanted: DesiredChildren) -> Comparison:
        """Return what `compare` does, by remembering it where nothing changed."""
        rest = self._rest
        same = rest is not None and rest.wanted == wanted and _same(rest.children, children)
        found = rest.found if rest is not None and same else compare(children, wanted)
        self._rest = None if found.apply else _Rest(wanted, children, found)
        return found


def compare(children: Mapping[Child, Raw], wanted: DesiredChildren) -> Comparison:
    """Render the children and compare them with those that are observed."""
    rendered = render_children(wanted)
    names = frozenset(_name_of(each) for each in rendered)
    foreign = _foreign(children, rendered)
    if foreign is not None:
        return Comparison(names, (), None, foreign)
    return Comparison(
        rendered=names,
        apply=tuple(each for each in rendered if _differs(children, each)),
        taken=_field_taken(children, rendered),
    )


def _name_of(manifest: Manifest) -> Child:
    return kind_of(manifest).plural, manifest["metadata"]["name"]


def _foreign(children: Mapping[Child, Raw], rendered: Iterable[Manifest]) -> Finding | None:
    """Return the first finding about an object that is somebody else's."""
    there = ((each, children.get(_name_of(each))) for each in rendered)
    found = (taken_by_other(each, stored) for each, stored in there if stored is not None)
    return next((each for each in found if each is not None), None)


def _field_taken(children: Mapping[Child, Raw], rendered: Iterable[Manifest]) -> Finding | None:
    """Another manager applies a field that we render."""
    for manifest in rendered:
        stored = children.get(_name_of(manifest))
        rival = rival_of(manifest, stored) if stored is not None else None
        if rival is not None:
            there = f"{manifest['kind']} {manifest['metadata']['name']}"
            said = f"{rival.manager} applies {rival.field} of {there} too."
            todo = (
                f"Stop {rival.manager} from applying it; set it in the LumenModelService instead."
            )
            return find(ConditionType.ACCEPTED, Reason.FIELD_CONFLICT, said, remedy=todo)
    return None


def _differs(children: Mapping[Child, Raw], manifest: Manifest) -> bool:
    stored = children.get(_name_of(manifest))
    if stored is None:
        return True
    if decode.mapping(stored, "metadata").get("deletionTimestamp"):
        return False  # it can only be made anew once it is gone
    return not contained(manifest, stored) or has_leftovers(manifest, stored)


def _same(before: Mapping[Child, Raw], now: Mapping[Child, Raw]) -> bool:
    """Return whether the same children say the same, whatever their controllers report."""
    return before.keys() == now.keys() and all(
        decode.same_but_for_status(raw, now[name]) for name, raw in before.items()
    )
