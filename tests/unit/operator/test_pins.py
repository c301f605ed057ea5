"""Which files pods shall have, and which specs, settings and pins are kept after a rollout."""

from operator_rollouts import pins_of, steps
from operator_world import NAMESPACE, SPACE, ended_well, verified

from lumen_cluster.kinds import CONFIG_MAPS, PODS, REPLICA_SETS, REVISIONS
from lumen_operator.observe.views import RevisionView
from lumen_operator.rollout.pins import number_of


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


def test_the_commits_of_label_sets_from_elsewhere_are_pinned_with_the_files(world):
    key = world.settled(replicas=3)
    said = verified(labelSets="TreeOfLife=" + "a" * 40)
    world.a_pod(key, "p1", initContainerStatuses=[ended_well("resources", said)])
    world.settle(key)

    (pin,) = pins_of(world).values()
    assert pin["labelSets"] == "TreeOfLife=" + "a" * 40


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


def test_five_specs_are_kept_and_the_stable_one_always(world):
    key = world.served()
    stable = world.status(key)["stableRevision"]
    for size in range(1, 9):
        world.change(key, server={"maxBatchSize": size})

    assert len(world.names(REVISIONS)) == 5
    assert stable in world.names(REVISIONS)


def test_a_spec_that_comes_back_is_the_newest_again(world):
    key = world.settled()
    for size in (1, 2, 1):
        world.change(key, server={"maxBatchSize": size})

    numbers = sorted(each["revision"] for each in world.all(REVISIONS))
    assert numbers == [1, 3, 4]
    assert world.decide(key).apply == ()


def test_a_revision_of_the_largest_number_that_somebody_wrote_overflows_nothing():
    forged = RevisionView("forged", "u9", 2**63 - 1, {})
    mine = RevisionView("mine", "u1", 2**63 - 1, {})

    assert number_of((forged,), "mine") == 2**63 - 1
    assert number_of((forged, mine), "mine") == 2**63 - 1


def test_settings_go_when_no_pod_and_no_replica_set_uses_them(world):
    key = world.served()
    settings = {n for n in world.names(CONFIG_MAPS) if "-pins-" not in n}
    world.change(key, server={"maxBatchSize": 8})
    assert settings < world.names(CONFIG_MAPS)

    world.count(key)
    for each in world.all(REPLICA_SETS):
        world.remove(REPLICA_SETS, each["metadata"]["name"])
    world.settle(key)
    assert settings < world.names(CONFIG_MAPS), "a pod still mounts them"

    world.remove(PODS, "clip-0")
    world.settle(key)
    assert not settings & world.names(CONFIG_MAPS)


def test_the_pins_of_the_stable_revision_stay_for_the_way_back(world):
    key = world.served()
    (pin,) = pins_of(world)
    world.change(key, model={"name": "MobileCLIP2-S4"})
    world.count(key)
    for each in world.all(REPLICA_SETS):
        world.remove(REPLICA_SETS, each["metadata"]["name"])
    world.remove(PODS, "clip-0")
    world.settle(key)

    assert pin in pins_of(world)


def test_settings_of_a_replica_set_in_the_making_stay(world):
    key = world.served()
    world.change(key, server={"maxBatchSize": 8})
    before = world.names(CONFIG_MAPS)
    world.change(key, server={"maxBatchSize": 16})

    assert before < world.names(CONFIG_MAPS), "the controller may make pods of it at this moment"
