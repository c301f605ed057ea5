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


def test_uninstalling_with_the_definitions_leaves_nothing(kube, release, demo):
    assert _ours(kube)
    kube.kubectl("delete", "deployment", "caller", "--ignore-not-found")

    print(kube.helm("uninstall", release, "--wait"))

    kube.until(lambda: not _ours(kube), "everything of Lumen is gone")
    definitions = kube.names("customresourcedefinitions")
    assert not {name for name in definitions if name.endswith("lumen.dev")}
