"""smart_classify: the scene from CLIP or SigLIP, and for routed scenes the species from BioCLIP.

Four outcomes (`rule.Source`, and UNAVAILABLE when the first can't answer). The decision is
`rule`'s; sending is `forward`'s.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson
import structlog

from lumen_manifest.spec.enums import SCENE_FAMILIES, Family
from lumen_manifest.spec.model_spec import ScenesSpec
from lumen_router.cascade.rule import (
    CascadeDecision,
    Source,
    Verdict,
    decide,
    fallback_reserve_s,
    stage_figures,
)
from lumen_router.errors import (
    NoServiceOfFamily,
    PodAnswerBroken,
    ServiceNotRouted,
    TaskNotRouted,
    TaskOfAnotherFamily,
)
from lumen_router.metrics import RouterMetrics
from lumen_router.routes.table import Routes, RouteTarget, Service, target_of
from lumen_router.upstream.call import Call, InferenceAnswer, InferenceRequest
from lumen_router.upstream.forward import Forwarder
from lumen_wire import results
from lumen_wire.deadline import Deadline
from lumen_wire.errors import InvalidArgument, NotFound, Unavailable, WireError
from lumen_wire.meta import TOP_K_SPELLINGS, RequestMeta
from lumen_wire.tasks import SMART_CLASSIFY, TaskKind

ALL_SCENES: Final = "1000"
SPECIES_HOLD_S: Final = 1.0
SCENE: Final = "scene"
SPECIES: Final = "species"
SIGMOIDS: Final = "sigmoids"

# What a caller says about the species; with one of these a refusal is the caller's to see.
_SPECIES_KEYS: Final = frozenset({"labels", "label_format", "rank", "include", "namespace"})
_PASSED_ON: Final = _SPECIES_KEYS | {"score"}
_SPECIES_WISHES: Final = _SPECIES_KEYS | set(TOP_K_SPELLINGS)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Stage:
    answer: InferenceAnswer
    ms: float


class SmartClassify:
    """Answers smart_classify with two calls."""

    def __init__(self, forwarder: Forwarder, metrics: RouterMetrics, hold_s: float) -> None:
        self._forwarder = forwarder
        self._metrics = metrics
        self._hold_s = hold_s

    async def answer(
        self,
        request: InferenceRequest,
        asked: RequestMeta,
        scene_by: Service,
        routes: Routes,
        deadline: Deadline,
    ) -> InferenceAnswer:
        """Return one labels_v1 answer whose meta says which stage spoke, and why.

        Raises what the scene stage raises; the species stage's failures become the scene's answer.
        """
        started = time.monotonic()
        # The fallback's share is of the caller's whole deadline, not of what the scene leaves.
        species_deadline = deadline.earlier_by(fallback_reserve_s(deadline.remaining_s()))
        scene = await self._ask(_scene_call(request, asked, scene_by, self._hold_s), deadline)
        scenes = _read_scenes(scene.answer)
        verdict = decide([(one.label, one.score) for one in scenes.labels], scene_by.scenes)
        species: _Stage | None = None
        failure = ""
        if verdict.decision is CascadeDecision.ROUTED:
            try:
                target = _species_target(scene_by.scenes, routes)
                hold_s = min(self._hold_s, SPECIES_HOLD_S)
                call = _species_call(request, asked, target, hold_s)
                species = await self._ask(call, species_deadline)
            except (WireError, _NoSpecies) as error:
                failure = _failure_name(error, request.meta)
        source = _source(verdict.decision, species)
        self._metrics.decided(verdict.decision, source)
        meta = _meta(verdict, scene_by.scenes, scene, species)
        meta["source"] = source.value
        meta["scenes"] = _shares(scenes)
        if failure:
            meta["fallback_reason"] = failure
        meta["lat_ms"] = str(round((time.monotonic() - started) * 1000))
        if species is not None:
            return _labels(species.answer.result, meta)
        meta["labels_count"] = "1"
        label = [(verdict.scene, verdict.scene_share)]
        return _labels(results.labels_v1(label, scenes.model_id), meta)

    async def _ask(self, call: Call, deadline: Deadline) -> _Stage:
        started = time.monotonic()
        answer = await self._forwarder.forward(call, deadline)
        if answer.mime != results.LABELS_MIME:
            raise PodAnswerBroken(f"the {call.target.kind} answer is not labels: try again")
        return _Stage(answer, (time.monotonic() - started) * 1000)


class _NoSpecies(Exception):
    """No species service is configured or served."""


def scene_service(routes: Routes, asked: str | None) -> Service:
    """Return the service that names the scene; raises what `Routes.find` raises."""
    if not asked:
        return default_scene_service(routes) or routes.default_of(Family.CLIP)
    service = routes.find(asked)
    if service.family not in SCENE_FAMILIES:
        raise TaskOfAnotherFamily(
            'smart_classify begins with a CLIP or SigLIP service, meta["service"] names '
            f"{service.name}, which is of family {service.family}. Leave it out"
        )
    return service


def default_scene_service(routes: Routes) -> Service | None:
    """Return the default CLIP service, else the default SigLIP service, else None."""
    return routes.defaults.get(Family.CLIP) or routes.defaults.get(Family.SIGLIP)


def species_service(scenes: ScenesSpec, routes: Routes) -> Service | None:
    """Return the service that names the species, None when there is none."""
    try:
        return routes.find(scenes.to) if scenes.to else routes.default_of(Family.BIOCLIP)
    except (ServiceNotRouted, NoServiceOfFamily):
        return None


def _species_target(scenes: ScenesSpec, routes: Routes) -> RouteTarget:
    service = species_service(scenes, routes)
    if service is None:
        raise _NoSpecies
    return target_of(service, TaskKind.CLASSIFY)


def _scene_call(
    request: InferenceRequest, asked: RequestMeta, scene_by: Service, hold_s: float
) -> Call:
    target = target_of(scene_by, TaskKind.SCENE_CLASSIFY)
    meta = _without_options(request.meta) | {"top_k": ALL_SCENES}
    return Call.of(request, target, meta, hold_s, asked.embedding_space)


def _species_call(
    request: InferenceRequest, asked: RequestMeta, target: RouteTarget, hold_s: float
) -> Call:
    top_k = asked.top_k or SMART_CLASSIFY.default_top_k
    passed = {key: value for key, value in request.meta.items() if key in _PASSED_ON}
    meta = _without_options(request.meta) | passed | {"top_k": str(top_k)}
    return Call.of(request, target, meta, hold_s)


def _without_options(meta: Mapping[str, str]) -> dict[str, str]:
    """Keep what the caller sent beside options that one stage alone, or the router, reads."""
    dropped = {*TOP_K_SPELLINGS, *_PASSED_ON, "service", "embedding_space", "error_mode"}
    return {key: value for key, value in meta.items() if key not in dropped}


def _read_scenes(answer: InferenceAnswer) -> results.LabelsDocument:
    scenes = results.parse_labels(answer.result)
    if not scenes.labels:
        raise PodAnswerBroken("the scene service answered no scenes: try again")
    return scenes


def _failure_name(error: WireError | _NoSpecies, meta: Mapping[str, str]) -> str:
    """Return why the species stage has no answer; raises what is the caller's own mistake."""
    if isinstance(error, _NoSpecies):
        return "NO_SPECIES_SERVICE"
    own_mistake = isinstance(error, InvalidArgument | NotFound) and not isinstance(
        error, TaskNotRouted
    )
    if own_mistake and not _SPECIES_WISHES.isdisjoint(meta):
        raise error
    # That the service is away is no news for each call: the metrics count it.
    say = log.debug if isinstance(error, Unavailable | TaskNotRouted) else log.warning
    say("species stage failed", code=error.status.name, why=error.message[:200])
    return error.status.name


def _source(decision: CascadeDecision, species: _Stage | None) -> Source:
    if species is not None:
        return Source.SPECIES
    return Source.FALLBACK if decision is CascadeDecision.ROUTED else Source.SCENE


def _meta(
    verdict: Verdict, rules: ScenesSpec, scene: _Stage, species: _Stage | None
) -> dict[str, str]:
    """Return the answering stage's meta, the decision with its figures, and every stage's time."""
    spoke = species or scene
    meta = {key: value for key, value in spoke.answer.meta.items() if not key.endswith("_ms")}
    if species is None:
        # What the scene stage says of its other scenes does not fit an answer of one.
        meta.pop("lineage", None)
        meta.pop(SIGMOIDS, None)
    meta |= _sigmoids(verdict.scene, scene.answer.meta.get(SIGMOIDS, ""))
    meta |= {
        "scene": verdict.scene,
        "scene_score": f"{verdict.scene_share:.6g}",
        "decision": verdict.decision.value,
        "routed_share": f"{verdict.routed_share:.6g}",
        "other_share": f"{verdict.other_share:.6g}",
        "threshold": f"{rules.threshold:g}",
        "margin": f"{rules.margin:g}",
        "scene_ms": f"{scene.ms:.2f}",
    }
    meta |= stage_figures(SCENE, scene.answer.meta)
    if species is not None:
        meta["species_ms"] = f"{species.ms:.2f}"
        meta |= stage_figures(SPECIES, species.answer.meta)
    return meta


def _sigmoids(scene: str, told: str) -> dict[str, str]:
    """Return what a model that scores each scene for itself says of all of them, and of this one.

    `told` is the scene stage's own JSON, empty for a model that only compares them.
    """
    try:
        found = orjson.loads(told) if told else {}
    except orjson.JSONDecodeError:
        found = {}
    value = found.get(scene) if isinstance(found, dict) else None
    if not isinstance(value, float | int):
        return {}
    return {"scene_sigmoid": f"{value:.6g}", "scene_sigmoids": told}


def _shares(scenes: results.LabelsDocument) -> str:
    """Return every scene's share as a JSON object, best first."""
    return orjson.dumps({one.label: round(one.score, 6) for one in scenes.labels}).decode()


def _labels(result: bytes, meta: dict[str, str]) -> InferenceAnswer:
    return InferenceAnswer(result, results.LABELS_MIME, results.LABELS_SCHEMA, meta)
