"""Which files the pods of a service shall have: what the first verified pod found."""

from operator_rollouts import pins_of, steps
from operator_world import NAMESPACE, SPACE, ended_well, verified


def test_one_pod_runs_until_it_has_shown_which_files_all_shall_have(world):
    key = world.settled(replicas=3)
    assert world.deployment(key)["spec"]["replicas"] == 1
    assert pins_of(world) == {}

    world.a_pod(key, "p1", initContainerStatuses=[ended_well("resources", verified())])
    world.settle(key)

    (pin,) = pins_of(world).values()
    assert (pin["revision"], pin["digest"]) == ("commit-1", "d" * 64)
    assert world.deployment(key)["spec"]["replicas"] == 3


def test_a_pin_never_moves_whatever_later_pods_find(world):
    key = world.served(replicas=2)
    before = pins_of(world)
    world.ready(key, "clip-0", revision="commit-2")
    world.settle(key)

    assert pins_of(world) == before


def test_without_a_word_from_the_init_container_the_server_s_page_pins(world):
    key = world.settled(replicas=3)
    world.ready(key, "p1")
    for status in world.objects["pods", NAMESPACE, "p1"]["status"]["initContainerStatuses"]:
        status["state"]["terminated"]["message"] = ""
    world.settle(key)
    assert pins_of(world) == {}

    files = {"revision": "commit-9", "digest": "e" * 64, "bytes": 5}
    world.report("p1", "server", phase="serving", embeddingSpace=SPACE, files=files)
    world.settle(key)

    (pin,) = pins_of(world).values()
    assert (pin["revision"], pin["digest"], pin["embeddingSpace"]) == ("commit-9", "e" * 64, SPACE)


def test_another_model_starts_with_pins_of_its_own(world):
    key = world.served()
    (before,) = pins_of(world)
    world.change(key, model={"name": "MobileCLIP2-S4"})

    assert list(pins_of(world)) == [before]
    world.ready(key, "new", revision="commit-7")
    world.settle(key)
    assert {pin["revision"] for pin in pins_of(world).values()} == {"commit-1", "commit-7"}


def test_the_commit_stays_when_only_label_sets_change(world):
    key = world.served(replicas=2)
    world.change(key, labelSets=[{"name": "a"}])

    new = [pin for pin in pins_of(world).values() if not pin["digest"]]
    assert [pin["revision"] for pin in new] == ["commit-1"]
    assert world.deployment(key)["spec"]["replicas"] == 2


def test_a_new_model_does_not_cost_the_pods_that_serve(world):
    key = world.served(replicas=3)
    world.change(key, model={"name": "MobileCLIP2-S4"})

    assert world.deployment(key)["spec"]["replicas"] == 3
    assert steps(world, key) == (1, 0)
