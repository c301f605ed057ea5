"""Comes last: what a release leaves behind."""

# What Kubernetes itself puts into a namespace, and what runs beside Lumen in these tests.
_OTHERS = {"kube-root-ca.crt", "default", "weights", "caller", "ask"}
_NAMESPACED = (
    "all,configmaps,secrets,serviceaccounts,roles,rolebindings,leases,poddisruptionbudgets"
)
_FURTHER = "networkpolicies,controllerrevisions,endpointslices,horizontalpodautoscalers"


def _ours(kube):
    found = kube.names(f"{_NAMESPACED},{_FURTHER}") | kube.names("clusterroles,clusterrolebindings")
    return {
        name
        for name in found
        if not any(name.split("/", 1)[1].startswith(other) for other in _OTHERS)
        and ("/lumen" in name or not name.startswith(("clusterrole", "clusterrolebinding")))
    }


def _definitions(kube):
    return {name for name in kube.names("customresourcedefinitions") if name.endswith("lumen.dev")}


def test_uninstalling_with_the_definitions_leaves_nothing(kube, release, demo):
    assert _ours(kube)
    kube.kubectl("delete", "deployment", "caller", "--ignore-not-found")

    print(kube.helm("uninstall", release, "--wait"))

    kube.until(lambda: not _ours(kube), "everything of Lumen is gone")
    assert not _definitions(kube)


def test_uninstalling_keeps_the_definitions_unless_told_and_says_so(kube, install):
    install(keep_definitions=True)
    kept = _definitions(kube)

    said = kube.helm("uninstall", "lumen", "--wait")

    print(said)
    assert len(kept) == 2
    assert all(name.split("/")[1] in said for name in kept)
    assert kept == _definitions(kube)
    kube.kubectl("delete", *sorted(kept))
    kube.until(lambda: not _ours(kube), "everything else of Lumen is gone")
