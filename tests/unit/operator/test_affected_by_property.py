"""A change that is said to concern nobody changes no decision."""

from hypothesis import given, settings
from hypothesis import strategies as st
from operator_watched import WatchedCluster, lives

from lumen_operator.observe.mapping import map_to_keys


@given(devices=st.none() | st.integers(0, 2), happens=lives)
@settings(max_examples=40)
def test_what_concerns_nobody_changes_no_decision(devices, happens):
    cluster = WatchedCluster(devices=devices)
    for step in happens:
        cluster.happens(step)
        before = cluster.look_at_all()
        for kind, old, new in cluster.tell():
            after = cluster.look_at_all()
            assert map_to_keys(cluster.cache, kind, old, new) or after == before
            before = after
