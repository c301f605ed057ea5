"""Every reason belongs to a condition, is explained, and says what to do."""

import pytest

from lumen_manifest.conditions import (
    EXPLANATIONS,
    OUTCOMES,
    READY_NEEDS,
    ConditionType,
    Reason,
)

GOOD = {reason for outcomes in OUTCOMES.values() for reason in outcomes.true} | {
    Reason.READY,
    Reason.ROLLOUT_COMPLETE,
}


def test_every_reason_is_explained():
    assert set(EXPLANATIONS) == set(Reason)


def test_every_reason_belongs_to_a_condition():
    listed = {reason for outcomes in OUTCOMES.values() for group in outcomes for reason in group}

    assert listed == set(Reason) - {Reason.READY}


def test_every_condition_but_ready_has_outcomes():
    assert set(OUTCOMES) == set(ConditionType) - {ConditionType.READY}
    assert set(READY_NEEDS) < set(ConditionType)


@pytest.mark.parametrize("reason", sorted(set(Reason) - GOOD))
def test_a_reason_that_is_not_good_says_what_to_do(reason: Reason):
    assert reason.meaning.endswith(".")
    assert reason.remedy()


def test_a_remedy_holds_the_facts_of_the_case():
    assert Reason.UNKNOWN_POOL.remedy(pool="gpu").endswith("or create gpu.")


def test_a_fact_that_is_not_known_is_left_as_a_placeholder():
    assert Reason.UNKNOWN_POOL.remedy().endswith("or create <pool>.")
