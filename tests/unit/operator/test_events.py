from datetime import UTC, datetime

from lumen_manifest.conditions import Reason
from lumen_operator.observe.kinds import POOLS, SERVICES
from lumen_operator.status.events import EventNote, event_about

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


def an_event(kind=SERVICES, message="The service answers.", **metadata):
    found = {"name": "clip", "namespace": "team", "uid": "u1", "resourceVersion": "7", **metadata}
    note = EventNote("Normal", Reason.READY, message)
    return event_about(kind, {"metadata": found}, note, "lumen-operator-x", NOW)


def test_an_event_says_of_which_object_what_and_when():
    event = an_event()

    assert event["eventTime"] == "2026-11-21T08:00:00.000000Z"
    assert (event["type"], event["reason"]) == ("Normal", "Ready")
    assert event["note"] == "The service answers."
    assert event["regarding"]["name"] == "clip"
    assert event["metadata"]["namespace"] == "team"


def test_the_same_transition_has_the_same_name_and_another_one_another():
    names = [
        an_event()["metadata"]["name"],
        an_event()["metadata"]["name"],
        an_event(message="Something else.")["metadata"]["name"],
        an_event(resourceVersion="8")["metadata"]["name"],
        an_event(uid="u2")["metadata"]["name"],
    ]

    assert names[0] == names[1]
    assert len(set(names)) == 4


def test_an_event_about_a_pool_is_in_the_namespace_where_the_api_server_wants_it():
    event = an_event(POOLS, namespace="")

    assert event["metadata"]["namespace"] == "default"
    assert "namespace" not in event["regarding"]


def test_a_long_message_is_cut_at_a_character():
    note = an_event(message="ä" * 2000)["note"]

    assert len(note.encode()) <= 1024
    assert note.endswith("ä...")


def test_a_long_name_still_gives_a_valid_one():
    name = an_event(name="a" * 199 + "-" + "b" * 50)["metadata"]["name"]

    assert len(name) <= 253
    assert "-." not in name
