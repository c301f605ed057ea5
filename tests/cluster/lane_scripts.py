"""What users, nodes and chance do to two services of a namespace: steps that hypothesis draws.

A step can always be taken: an edit of a service that is not there makes it, and what is done to
children or pods that are not there does nothing. So any list of steps is a script, and one that
failed can be cut down by hand.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from controlplane.nodes import BEHAVIOUR, DELAY, TERMINATION_MESSAGE, Behaviour
from hypothesis import strategies as st

SERVICES = ("a", "b")
ROUNDS = 6
STEPS_MAX = 3

DEADLINE_S = 30
"""The shortest deadline that a service may set."""

MODELS = {"MobileCLIP2-S2": "1", "ViT-B-32": "2"}
"""Models, and the digit that their files' digests consist of."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something done to one of the services; `detail` is the verb's own."""

    verb: str
    service: str
    detail: Any = None


@dataclass(frozen=True, slots=True)
class Round:
    """Steps that are taken at once; the quiet after them is waited for."""

    steps: tuple[Step, ...]


Script = tuple[Round, ...]


def verified(model: str) -> str:
    """Return what an init container leaves behind that has verified a model's files."""
    digit = MODELS[model]
    files = {"revision": f"commit-{digit}", "digest": digit * 64, "bytes": 9, "files": 3}
    return json.dumps({**files, "embeddingSpace": digit * 16}, sort_keys=True)


FAILED_FILES = json.dumps({"reason": "ChecksumMismatch", "message": "One file is another."})


def _pods(**annotations: str | None) -> dict[str, Any]:
    return {"podTemplate": {"annotations": {BEHAVIOUR: None, DELAY: None, **annotations}}}


def _model(name: str) -> dict[str, Any]:
    return {
        "model": {"name": name},
        "podTemplate": {"annotations": {TERMINATION_MESSAGE: verified(name)}},
    }


EDITS: dict[str, dict[str, Any]] = {
    "revision v2": {"model": {"source": {"revision": "v2"}}},
    "batches of 8": {"server": {"maxBatchSize": 8}},
    "batches of 16": {"server": {"maxBatchSize": 16}},
    "a variable": {"server": {"env": [{"name": "A_SWITCH", "value": "on"}]}},
    "no variable": {"server": {"env": []}},
    "labels": {"labelSets": [{"name": "ImageNet_1k", "template": "a photo of a {}"}]},
    "no labels": {"labelSets": None},
    "a cpu": {"resources": {"requests": {"cpu": "1000m"}, "limits": {"memory": "2048Mi"}}},
    "no cpu": {"resources": None},
    "a team": {"podTemplate": {"labels": {"team": "vision"}}},
    "no team": {"podTemplate": {"labels": None}},
    "no default": {"default": None},
    "an alias": {"aliases": ["fast"]},
    "vectors may not change": {"rollout": {"allowReindex": None}},
    "pods get ready late": _pods(**{BEHAVIOUR: Behaviour.SLOW, DELAY: "2s"}),
}
NOTABLE: dict[str, dict[str, Any]] = {
    **{f"model {name}": _model(name) for name in MODELS},
    "vectors may change": {"rollout": {"allowReindex": True}},
    "a default": {"default": True},
    "autoscaled": {"autoscaling": {"minReplicas": 2, "maxReplicas": 3}},
    "not autoscaled": {"autoscaling": None},
}
TROUBLE: dict[str, dict[str, Any]] = {
    "pods crash": _pods(**{BEHAVIOUR: Behaviour.CRASH_LOOP}),
    "pods have no image": _pods(**{BEHAVIOUR: Behaviour.IMAGE_PULL}),
    "pods never get ready": _pods(**{BEHAVIOUR: Behaviour.NEVER_READY}),
    "files are wrong": _pods(
        **{BEHAVIOUR: Behaviour.INIT_FAILS, TERMINATION_MESSAGE: FAILED_FILES}
    ),
    "no way back": {"rollout": {"autoRollback": False}},
    "little time": {"rollout": {"progressDeadlineSeconds": DEADLINE_S}},
    "a node that is not": {"podTemplate": {"nodeSelector": {"lumen.test/nowhere": "yes"}}},
    "a claim that is not": {"cache": {"type": "persistentVolumeClaim", "claimName": "none"}},
    "elsewhere": {"external": "198.18.0.1:50051", "pool": None},
}
RELIEF: dict[str, dict[str, Any]] = {
    "all well": {
        **_model("MobileCLIP2-S2"),
        "rollout": None,
        "cache": None,
        "podTemplate": {
            "nodeSelector": None,
            "annotations": {
                BEHAVIOUR: None,
                DELAY: None,
                TERMINATION_MESSAGE: verified("MobileCLIP2-S2"),
            },
        },
    },
    "pods get ready": _pods(**{TERMINATION_MESSAGE: verified("MobileCLIP2-S2")}),
}
SPEC_CHANGES = EDITS | NOTABLE | TROUBLE | RELIEF

METADATA_DAMAGE: dict[str, dict[str, Any]] = {
    "no owner": {"metadata": {"ownerReferences": None}},
    "no service's label": {"metadata": {"labels": {"lumen.dev/service": None}}},
    "another service's label": {"metadata": {"labels": {"lumen.dev/service": "b"}}},
    "another name's label": {"metadata": {"labels": {"app.kubernetes.io/name": "other"}}},
    "somebody's note": {"metadata": {"annotations": {"example.com/note": "keep"}}},
}
RIVALS: dict[str, dict[str, Any]] = {
    "a rival with the same label": {"metadata": {"labels": {"app.kubernetes.io/part-of": "lumen"}}},
    "a rival with another label": {"metadata": {"labels": {"app.kubernetes.io/part-of": "other"}}},
    "no rival": {"metadata": {}},
}
"""What another manager applies, by server-side apply."""
SPEC_DAMAGE: dict[str, dict[str, dict[str, Any]]] = {
    "deployments": {
        "seven pods": {"spec": {"replicas": 7}},
        "no pods": {"spec": {"replicas": 0}},
        "recreated": {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}},
        "another image": {
            "spec": {"template": {"spec": {"containers": [{"name": "server", "image": "other"}]}}}
        },
        "restarted": {
            "spec": {"template": {"metadata": {"annotations": {"example.com/restarted": "now"}}}}
        },
        "on the host": {"spec": {"template": {"spec": {"hostNetwork": True}}}},
    },
    "services": {"another selector": {"spec": {"selector": {"lumen.dev/service": "other"}}}},
    "poddisruptionbudgets": {"none may go": {"spec": {"maxUnavailable": 0}}},
    "networkpolicies": {"all may come": {"spec": {"ingress": [{}]}}},
    "controllerrevisions": {"another number": {"revision": 90}},
    "configmaps": {},
    "horizontalpodautoscalers": {"more pods": {"spec": {"maxReplicas": 9}}},
}

POOL_CHANGES: dict[str, dict[str, Any] | None] = {
    "a variable": {"env": [{"name": "OF_THE_POOL", "value": "1"}]},
    "no variable": {"env": None},
    "an image": {"images": {"onnx": "example.com/server:2"}},
    "no onnx": {"images": {"onnx": None, "torch": "example.com/torch:1"}},
    "own images": {"images": None},
    "deleted": None,
}

PODS_MISBEHAVE = (
    Behaviour.CRASH_LOOP,
    Behaviour.OOM,
    Behaviour.NEVER_READY,
    Behaviour.EVICTED,
    Behaviour.READY,
)


def _steps() -> Iterator[tuple[int, list[Step]]]:
    """Yield groups of steps, each with the share that the group has among a hundred steps."""

    def of(verb: str, details: Iterable[Any]) -> list[Step]:
        return [Step(verb, service, detail) for detail in details for service in SERVICES]

    kinds = SPEC_DAMAGE.items()
    harm = [(k, how) for k, own in kinds for how in ("deleted", *METADATA_DAMAGE, *RIVALS, *own)]
    yield 14, of("edit", EDITS)
    yield 16, of("edit", NOTABLE)
    yield 12, of("edit", TROUBLE)
    yield 10, of("edit", RELIEF)
    yield 8, of("scale", (0, 1, 2, 2, 3, 3))
    yield 9, of("move", ("main", "main", "cards", "cards"))
    yield 1, of("move", ("missing",))
    yield 12, of("damage", harm)
    yield 5, of("misbehave", (each.value for each in PODS_MISBEHAVE))
    yield 4, of("delete a pod", (None,))
    yield 4, [Step("pool", "main", change) for change in POOL_CHANGES]
    yield 3, [Step("cards", "node", offered) for offered in (0, 1, 2, 2)]
    yield 2, of("delete", (None,))
    yield 2, of("make anew", (None,))


def scripts() -> st.SearchStrategy[Script]:
    """Draw what happens in one namespace: some as often as listed, some as hypothesis likes it.

    What hypothesis draws by itself repeats and varies few steps, which chance rarely does.
    """
    a_step = st.one_of(*(st.sampled_from(group) for _, group in _steps()))
    a_round = st.lists(a_step, min_size=1, max_size=STEPS_MAX).map(tuple).map(Round)
    repeated = st.lists(a_round, min_size=ROUNDS, max_size=ROUNDS)
    return st.one_of(st.randoms(use_true_random=True).map(_by_chance), repeated.map(tuple))


def _by_chance(chance: Random) -> Script:
    shares, groups = zip(*_steps(), strict=True)
    return tuple(
        Round(
            tuple(
                chance.choice(group)
                for group in chance.choices(groups, shares, k=chance.randint(1, STEPS_MAX))
            )
        )
        for _ in range(ROUNDS)
    )
