"""Names that clients compare exactly: wire.md's table of tasks."""

from lumen_wire import tasks
from lumen_wire.tasks import TaskKind

ALL = tuple(TaskKind)


ALIASES = {
    "clip_text_embed": "clip_embed embed semantic_text_embed smartclip_text_embed",
    "clip_image_embed": "image_embed semantic_image_embed smartclip_image_embed",
    "clip_classify": "classify smartclip_classify",
    "clip_scene_classify": "classify_scene smartclip_scene_classify",
    "bioclip_text_embed": "bioclip_embed",
    "bioclip_classify": "smartclip_bioclassify",
    "siglip_text_embed": "siglip_embed",
}


def test_every_alias_stands_for_its_canonical_task():
    assert {task.name: " ".join(task.aliases) for task in tasks.TASKS if task.aliases} == ALIASES
    for task in tasks.TASKS:
        assert {tasks.canonical(name) for name in (task.name, *task.aliases)} == {task}


def test_a_name_that_does_not_exist_stands_for_nothing():
    assert tasks.canonical("clip_emb") is None
    assert tasks.resolve("clip_emb", "clip") is None
    assert tasks.resolve("embed", "no-family") is None


def test_default_top_k_is_5_for_clip_1_for_scenes_3_for_species_and_smart():
    assert {t.name: t.default_top_k for t in tasks.TASKS if t.default_top_k} == {
        "clip_classify": 5,
        "clip_scene_classify": 1,
        "bioclip_classify": 3,
        "siglip_classify": 5,
        "siglip_scene_classify": 1,
        "smart_classify": 3,
    }


def test_a_clip_server_advertises_every_alias_and_its_unprefixed_names():
    names = tasks.names_for("clip", ALL)

    assert len(names) == 15
    assert names["embed"] is TaskKind.TEXT_EMBED
    assert names["classify_scene"] is TaskKind.SCENE_CLASSIFY


def test_a_bioclip_server_alone_has_the_unprefixed_names_but_no_scenes():
    assert set(tasks.names_for("bioclip", ALL)) == {
        *("bioclip_text_embed", "bioclip_embed", "embed"),
        *("bioclip_image_embed", "image_embed"),
        *("bioclip_classify", "smartclip_bioclassify", "classify"),
    }


def test_a_task_whose_resources_are_missing_is_not_advertised():
    names = tasks.names_for("clip", (TaskKind.TEXT_EMBED, TaskKind.IMAGE_EMBED))

    assert "classify" not in names
    assert set(names.values()) == {TaskKind.TEXT_EMBED, TaskKind.IMAGE_EMBED}


def test_an_unprefixed_name_means_the_servers_own_family():
    assert tasks.resolve("classify", "bioclip") is TaskKind.CLASSIFY
    assert tasks.resolve("clip_classify", "bioclip") is None
    assert tasks.unprefixed("classify") is TaskKind.CLASSIFY
    assert tasks.unprefixed("clip_classify") is None


def test_a_familys_second_service_has_names_of_its_own():
    assert tasks.service_prefixed("fast", "clip", ALL) == {
        "fast_text_embed": TaskKind.TEXT_EMBED,
        "fast_embed": TaskKind.TEXT_EMBED,
        "fast_image_embed": TaskKind.IMAGE_EMBED,
        "fast_classify": TaskKind.CLASSIFY,
        "fast_scene_classify": TaskKind.SCENE_CLASSIFY,
    }


def test_which_names_take_text_is_known_without_the_service():
    texts = ["embed", "clip_embed", "semantic_text_embed", "fast_embed", "fast_text_embed"]
    images = [
        "image_embed",
        "semantic_image_embed",
        "fast_image_embed",
        "classify",
        "smart_classify",
    ]

    assert all(tasks.takes_text(name) for name in texts)
    assert not any(tasks.takes_text(name) for name in images)


def test_no_name_stands_for_two_tasks():
    names = [name for task in tasks.TASKS for name in (task.name, *task.aliases)]

    assert len(names) == len(set(names))
