"""The closed list of tasks, their aliases, and who advertises which name.

Clients compare a task's name exactly, so every alias is a name of its own.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

CLIP = "clip"
BIOCLIP = "bioclip"
SIGLIP = "siglip"
FAMILIES = (CLIP, BIOCLIP, SIGLIP)


class TaskKind(StrEnum):
    """What is computed, whatever the task is called."""

    TEXT_EMBED = "text_embed"
    IMAGE_EMBED = "image_embed"
    CLASSIFY = "classify"
    SCENE_CLASSIFY = "scene_classify"
    SMART_CLASSIFY = "smart_classify"


@dataclass(frozen=True, slots=True)
class Task:
    """One canonical name; `family` is None for the router's own task."""

    name: str
    kind: TaskKind
    family: str | None
    aliases: tuple[str, ...] = ()
    default_top_k: int | None = None


TASKS: tuple[Task, ...] = (
    Task(
        "clip_text_embed",
        TaskKind.TEXT_EMBED,
        CLIP,
        ("clip_embed", "embed", "semantic_text_embed", "smartclip_text_embed"),
    ),
    Task(
        "clip_image_embed",
        TaskKind.IMAGE_EMBED,
        CLIP,
        ("image_embed", "semantic_image_embed", "smartclip_image_embed"),
    ),
    Task("clip_classify", TaskKind.CLASSIFY, CLIP, ("classify", "smartclip_classify"), 5),
    Task(
        "clip_scene_classify",
        TaskKind.SCENE_CLASSIFY,
        CLIP,
        ("classify_scene", "smartclip_scene_classify"),
        1,
    ),
    Task("bioclip_text_embed", TaskKind.TEXT_EMBED, BIOCLIP, ("bioclip_embed",)),
    Task("bioclip_image_embed", TaskKind.IMAGE_EMBED, BIOCLIP),
    Task("bioclip_classify", TaskKind.CLASSIFY, BIOCLIP, ("smartclip_bioclassify",), 3),
    Task("siglip_text_embed", TaskKind.TEXT_EMBED, SIGLIP, ("siglip_embed",)),
    Task("siglip_image_embed", TaskKind.IMAGE_EMBED, SIGLIP),
    Task("siglip_classify", TaskKind.CLASSIFY, SIGLIP, (), 5),
    Task("siglip_scene_classify", TaskKind.SCENE_CLASSIFY, SIGLIP, (), 1),
    Task("smart_classify", TaskKind.SMART_CLASSIFY, None, (), 3),
)

SMART_CLASSIFY = TASKS[-1]

_UNPREFIXED: Mapping[str, TaskKind] = {
    "embed": TaskKind.TEXT_EMBED,
    "image_embed": TaskKind.IMAGE_EMBED,
    "classify": TaskKind.CLASSIFY,
    "classify_scene": TaskKind.SCENE_CLASSIFY,
}
_BY_WORK: Mapping[tuple[str | None, TaskKind], Task] = {
    (task.family, task.kind): task for task in TASKS
}
_BY_NAME: Mapping[str, Task] = {name: task for task in TASKS for name in (task.name, *task.aliases)}


def canonical(name: str) -> Task | None:
    """Return the task that a canonical name or an alias stands for; unprefixed means CLIP."""
    return _BY_NAME.get(name)


def unprefixed(name: str) -> TaskKind | None:
    """Return the kind of a name that says no family, or None when it says one."""
    return _UNPREFIXED.get(name)


def names_for(family: str, kinds: Collection[TaskKind]) -> dict[str, TaskKind]:
    """Return every name that a model server of `family` advertises for `kinds`, in table order.

    Unprefixed names are its own, whatever the family; scenes are CLIP's and SigLIP's.
    """
    names: dict[str, TaskKind] = {}
    for task in TASKS:
        if task.family != family or task.kind not in kinds:
            continue
        own = [name for name, kind in _UNPREFIXED.items() if kind is task.kind]
        names |= dict.fromkeys((task.name, *task.aliases, *own), task.kind)
    return names


def service_prefixed(service: str, family: str, kinds: Collection[TaskKind]) -> dict[str, TaskKind]:
    """Return the names of a family's second service: `<service>_image_embed` and so on."""
    names: dict[str, TaskKind] = {}
    for task in TASKS:
        if task.family == family and task.kind in kinds:
            names[f"{service}_{task.kind.value}"] = task.kind
            if task.kind is TaskKind.TEXT_EMBED:
                names[f"{service}_embed"] = task.kind
    return names


def resolve(name: str, family: str) -> TaskKind | None:
    """Return what a model server of `family` computes for a task's name, or None if unknown."""
    return _RESOLVED[family].get(name) if family in _RESOLVED else None


def task_for(family: str, kind: TaskKind) -> Task | None:
    """Return the canonical task of a family and a kind, or None when it has none."""
    return _BY_WORK.get((family, kind))


def takes_text(name: str) -> bool:
    """Say whether a task's name, a second service's included, means text as its input."""
    if task := _BY_NAME.get(name):
        return task.kind is TaskKind.TEXT_EMBED
    return name.endswith("_embed") and not name.endswith("_image_embed")


_RESOLVED: Mapping[str, Mapping[str, TaskKind]] = {
    family: names_for(family, tuple(TaskKind)) for family in FAMILIES
}
