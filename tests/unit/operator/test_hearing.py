"""What answers of status pages mean, and how often a service hears of them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumen_operator.observe.kinds import Key
from lumen_operator.observe.views import PodAddress
from lumen_operator.polling.asker import PageAnswer
from lumen_operator.polling.hearing import AT_MOST_EVERY_S, PolledPage, ReportReader

EVERY_S = 5.0
MINUTE_S = 60.0
SILENCE = PageAnswer(None, ("10.0.0.1",))


class Listener:
    """One service's page and a clock: what is heard, and when the service is told."""

    def __init__(self, external=True, hearing=None, uid="page"):
        key = Key("service", "team", "board")
        self.hearing = hearing or ReportReader(EVERY_S)
        self.asked = PolledPage(
            key, PodAddress(uid, "board.lan", "server", external=external), EVERY_S
        )
        self.now, self.told = 0.0, []

    def hears(self, answer, at):
        self.now = at
        if self.hearing.heard(self.asked, answer, at):
            self.told.append(at)

    @property
    def shown(self):
        return self.hearing.reports.get(self.asked.address.uid)


def serving(model="clip"):
    return PageAnswer({"phase": "serving", "modelId": model}, ("10.0.0.1",))


LOADING = PageAnswer({"phase": "loading"}, ("10.0.0.1",))


def test_the_first_word_and_that_it_serves_are_told_at_once():
    board = Listener()
    board.hears(LOADING, 0)
    board.hears(serving(), 5)

    assert board.told == [0, 5]
    assert board.shown.document == serving().page


def test_a_page_that_says_something_else_each_time_is_told_of_once_a_minute_with_its_newest_word():
    board = Listener()
    for number in range(121):
        board.hears(serving(f"model-{number}"), number * EVERY_S)

    assert board.told == [minute * MINUTE_S for minute in range(11)]
    assert board.shown.document["modelId"] == "model-120"


def test_a_page_that_stops_serving_and_serves_again_for_ever_is_told_of_once_a_minute():
    board = Listener()
    for number, answer in zip(range(120), itertools.cycle([serving(), LOADING]), strict=False):
        board.hears(answer, number * EVERY_S)

    assert all(later - before >= MINUTE_S for before, later in itertools.pairwise(board.told))


def test_a_change_after_a_quiet_minute_is_told_at_once():
    board = Listener()
    for at in (0, 5, 60):
        board.hears(serving(), at)
    board.hears(LOADING, 65)

    assert board.told == [0, 65]


def test_a_change_that_was_taken_back_before_it_was_told_is_none():
    hearing = ReportReader(EVERY_S)
    board, other = (Listener(hearing=hearing, uid=uid) for uid in ("board", "other"))
    board.hears(serving("a"), 0)
    board.hears(serving("b"), 5)
    board.hears(serving("a"), 10)
    other.hears(serving("a"), 15)

    assert (board.told, other.told) == ([0], [15])
    assert board.shown.document["modelId"] == "a"


def test_news_of_one_page_is_told_with_what_waits_of_the_others():
    hearing = ReportReader(EVERY_S)
    board, other = (Listener(hearing=hearing, uid=uid) for uid in ("board", "other"))
    board.hears(serving("a"), 0)
    board.hears(serving("b"), 5)
    assert board.shown.document["modelId"] == "a"
    other.hears(serving("a"), 6)

    assert (board.told, other.told) == ([0], [6])
    assert board.shown.document["modelId"] == "b"


def test_a_server_that_does_not_answer_at_first_is_silent_at_once():
    board = Listener()
    board.hears(SILENCE, 0)
    board.hears(SILENCE, 10)

    assert board.told == [0]
    assert not board.shown.answers


def test_a_server_is_silent_when_it_was_asked_in_vain_for_half_a_minute():
    board = Listener()
    board.hears(serving(), 0)
    for at in (61, 71):
        board.hears(SILENCE, at)
    assert not board.shown.answers

    board.hears(serving(), 111)
    assert not board.shown.answers
    board.hears(serving(), 131)
    assert board.shown.answers
    assert board.told == [0, 71, 131]


def test_a_server_that_was_asked_late_and_missed_once_is_not_silent():
    board = Listener()
    board.hears(serving(), 0)
    board.hears(SILENCE, 3600)
    board.hears(serving(), 7200)
    board.hears(SILENCE, 10800)

    assert board.shown.answers
    assert board.told == [0]


def test_two_misses_within_half_a_minute_are_no_silence():
    board = Listener()
    board.hears(serving(), 0)
    board.hears(SILENCE, 5)
    board.hears(SILENCE, 15)

    assert board.shown.answers


def test_a_server_with_an_address_that_may_not_be_called_is_said_to_have_it():
    board = Listener()
    board.hears(serving(), 0)
    board.hears(PageAnswer(None, ("169.254.169.254",), refused=True), 61)

    assert board.shown.addresses == ("169.254.169.254",)
    assert not board.shown.answers
    assert board.told == [0, 61]


@pytest.mark.parametrize("external", [True, False])
def test_a_page_that_fails_is_asked_ever_more_rarely_and_one_that_answers_as_before(external):
    board = Listener(external)
    gaps = []
    for at in range(8):
        board.hears(SILENCE, at)
        gaps.append(board.asked.every_s)
    assert gaps == [10, 20, 40, 80, 160, AT_MOST_EVERY_S, AT_MOST_EVERY_S, AT_MOST_EVERY_S]

    board.hears(serving(), 9)
    assert board.asked.every_s == EVERY_S


def test_figures_of_pods_that_fetch_are_told_together_and_as_often_as_pods_are_asked():
    hearing = ReportReader(EVERY_S)
    pods = [Listener(external=False, hearing=hearing, uid=f"pod-{n}") for n in range(50)]
    for tick in range(600):
        pod = pods[tick % 50]
        pod.hears(PageAnswer({"phase": "Fetching", "bytesDone": tick}), tick / 10)
    told = sorted(at for pod in pods for at in pod.told)

    assert len(told) <= 50 + 60 / EVERY_S
    newest = {pod.shown.document["bytesDone"] for pod in pods}
    assert min(newest) >= 500 - 50


def test_a_pod_that_does_not_answer_keeps_its_last_word():
    pod = Listener(external=False)
    pod.hears(LOADING, 0)
    for at in (5, 15, 35, 75):
        pod.hears(SILENCE, at)

    assert pod.shown.document == LOADING.page
    assert pod.told == [0]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([SILENCE, LOADING, serving("a"), serving("b")]), st.floats(0, 90)
        ),
        max_size=100,
    )
)
def test_whatever_a_page_does_its_service_hears_of_it_once_a_minute_but_for_two_first_words(script):
    board, now = Listener(), 0.0
    for answer, wait_s in script:
        now += wait_s
        board.hears(answer, now)

    assert len(board.told) <= 2 + now / MINUTE_S
