"""When pods are replaced, and how many run meanwhile."""

from rendered_pods import deployment_of

from lumen_manifest.render import Pinned, RenderContext
from lumen_manifest.render.records import controller_revision


def test_one_pod_runs_until_its_files_are_pinned(rendered, a_pool):
    pinned = RenderContext(pinned=Pinned("c0ffee", "d1"))

    before, after = rendered(replicas=3), rendered(replicas=3, context=pinned)

    assert deployment_of(before)["spec"]["replicas"] == 1
    assert deployment_of(after)["spec"]["replicas"] == 3
    assert after.pins["data"].items() >= {"revision": "c0ffee", "digest": "d1"}.items()


def test_pins_belong_to_a_model_and_its_label_sets_and_to_nothing_else(rendered):
    pinned = RenderContext(pinned=Pinned("c0ffee", "d1"))

    def name(**spec):
        return rendered(**spec, context=pinned).pins["metadata"]["name"]

    assert name() == name(replicas=4) == name(server={"maxQueue": 7})
    assert name() != name(model={"name": "other", "runtime": "onnx"})
    assert name() != name(labelSets=[{"name": "ImageNet_1k"}])


def test_commits_of_label_sets_reach_the_pods_of_a_service_that_has_some_from_elsewhere(rendered):
    sets = [{"name": "TreeOfLife", "source": {"uri": "hf://datasets/me/tree"}}]
    pinned = RenderContext(pinned=Pinned("c0ffee", "d1", label_sets="TreeOfLife=b0b"))

    with_sets, without = rendered(labelSets=sets, context=pinned), rendered(context=pinned)

    assert with_sets.pins["data"]["labelSets"] == "TreeOfLife=b0b"
    asked = [
        "LUMEN_PINNED_LABEL_SETS"
        in str(deployment_of(each)["spec"]["template"]["spec"]["initContainers"][0]["env"])
        for each in (with_sets, without)
    ]
    assert asked == [True, False]


def test_pods_say_which_revision_they_are_made_from(rendered):
    template = deployment_of(rendered(context=RenderContext(revision="clip-0123456789")))["spec"][
        "template"
    ]

    assert template["metadata"]["labels"]["lumen.dev/revision"] == "clip-0123456789"


def test_a_service_scaled_to_zero_stays_at_zero(rendered):
    assert deployment_of(rendered(replicas=0))["spec"]["replicas"] == 0


def test_pinning_the_files_restarts_no_pod(rendered):
    pinned = RenderContext(pinned=Pinned("c0ffee", "d1"))

    before = deployment_of(rendered())["spec"]["template"]
    after = deployment_of(rendered(context=pinned))["spec"]["template"]

    assert before == after


def test_rollouts_surge_unless_the_pool_is_full(rendered):
    steps = [
        deployment_of(rendered(context=RenderContext(surge=surge)))["spec"]["strategy"][
            "rollingUpdate"
        ]
        for surge in (True, False)
    ]

    assert steps == [
        {"maxSurge": 1, "maxUnavailable": 0},
        {"maxSurge": 0, "maxUnavailable": 1},
    ]


def test_a_revision_is_what_decides_the_pods(a_service):
    same = {a_service(replicas=count, aliases=["x"]).revision_name for count in (1, 2)}
    other = a_service(server={"maxQueue": 1}).revision_name
    stored = controller_revision(a_service(), 3)

    assert len(same) == 1
    assert other not in same
    assert stored["revision"] == 3
    assert "replicas" not in stored["data"]["spec"]


def test_what_was_computed_of_a_service_is_computed_of_a_changed_copy_anew(a_service):
    one = a_service()
    before = (one.revision_name, one.pins_name, one.model_digest)
    same, other = one.model_copy(), one.model_copy(update={"spec": a_service(family="siglip").spec})

    assert (same.revision_name, same.pins_name, same.model_digest) == before
    assert other.revision_name != one.revision_name
    assert (one, one.model_dump()) == (a_service(), a_service().model_dump())
