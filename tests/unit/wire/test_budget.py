"""Who may hold how much of the bytes that all streams share."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_messages import MIB, a_budget

from lumen_wire.request.budget import Account, ByteBudget, places
from lumen_wire.request.callers import caller_of, metadata_of, told_caller_of

LIMIT = 256 * MIB
STEP = 64 * 1024


def filled(account: Account, step: int = STEP) -> int:
    """Take until nothing more is given; return what is held then."""
    while account.try_take(step):
        pass
    return account.held


def flooded(budget: ByteBudget, callers: list[tuple[str, str]]) -> None:
    """Let a stream of each caller take in turn until nobody gets any more."""
    accounts = [budget.account(*caller) for caller in callers]
    while sum(account.try_take(STEP) for account in accounts):
        pass


def test_one_stream_alone_comes_to_half_and_the_largest_request_fits():
    budget = a_budget(LIMIT)
    account = budget.account("ipv4:10.0.0.1", "1")

    assert account.room == LIMIT
    assert filled(account) == pytest.approx(8 / 15 * LIMIT, abs=2 * STEP)


def test_one_address_on_many_connections_leaves_a_third_to_any_other():
    budget = a_budget(LIMIT)
    flooded(budget, [("ipv4:10.0.0.1", str(port)) for port in range(400)])

    assert budget.account("ipv4:10.0.0.2", "1").room >= LIMIT / 3 - STEP


@pytest.mark.parametrize(
    "callers",
    [
        [("proxy", str(port)) for port in range(16)],
        [("proxy", str(port)) for port in range(16) for _ in range(25)],
        [(f"10.0.0.{last}", "1") for last in range(16)],
        [(f"10.0.0.{last}", "1") for last in range(16) for _ in range(25)],
    ],
    ids=["connections", "streams of connections", "addresses", "streams of addresses"],
)
def test_beside_sixteen_that_take_all_they_get_a_newcomer_gets_its_share(callers):
    budget = a_budget(LIMIT)
    flooded(budget, callers)

    newcomer = budget.account(callers[0][0] if callers[0][0] == "proxy" else "10.0.1.1", "good")

    assert newcomer.room > 4 * MIB


def test_an_account_that_closes_leaves_nothing_and_nobody_behind():
    budget = a_budget(MIB)
    first, second = budget.account("a", "1"), budget.account("a", "1")
    assert first.try_take(1000)
    assert second.try_take(500)

    first.close()
    assert (budget.held_bytes, budget.callers) == (500, 2)
    second.close()
    assert (budget.held_bytes, budget.callers) == (0, 0)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.sampled_from(["take", "give", "close"]), st.integers(0, MIB)
        )
    )
)
def test_whatever_is_taken_and_given_back_the_sums_agree_and_no_bound_breaks(steps):
    budget = a_budget(MIB)
    who = [(address, connection) for address in "ab" for connection in "123"]
    accounts: dict[int, Account] = {}

    for index, verb, count in steps:
        account = accounts.get(index)
        if account is None:
            account = accounts[index] = budget.account(*who[index])
        if verb == "take":
            account.try_take(count)
        elif verb == "give":
            account.give_back(min(count, account.held))
        else:
            accounts.pop(index).close()
        assert budget.held_bytes == sum(a.held for a in accounts.values())
        assert 0 <= budget.held_bytes <= MIB
    for account in accounts.values():
        account.close()

    assert (budget.held_bytes, budget.callers) == (0, 0)


@pytest.mark.parametrize(
    ("peer", "caller"),
    [
        ("ipv4:10.0.0.7:4711", ("ipv4:10.0.0.7", "4711")),
        ("ipv6:%5B::1%5D:4711", ("ipv6:%5B::1%5D", "4711")),
        ("ipv6:[fe80::1%25eth0]:80", ("ipv6:[fe80::1%25eth0]", "80")),
        ("unix:/run/lumen.sock:7", ("unix:/run/lumen.sock:7", "")),
        ("unix:", ("unix:", "")),
        ("ipv4:", ("ipv4:", "")),
        ("", ("", "")),
    ],
)
def test_a_caller_is_an_address_and_a_connection_of_it(peer, caller):
    assert caller_of(peer) == caller


@pytest.mark.parametrize("each", [1, 2, 3, 6, 512])
@pytest.mark.parametrize("names", [2, 4])
def test_one_caller_alone_gets_every_place_that_is_meant_for_one(each, names):
    assert filled(places(each).account(*"abcd"[:names]), 1) == each


@pytest.mark.parametrize(
    ("held", "ahead"),
    [
        ([], 0),
        ([("a", "1")] * 5, 5),
        ([("a", "2")] * 5, 1),
        ([("b", "1")] * 5, 1),
        ([("a", "1"), *[("a", "2")] * 9, *[("b", "1")] * 9], 1 + 2 + 4),
        ([("b", str(port)) for port in range(9)], 1),
        ([(address, "1") for address in "bcdef"], 5),
    ],
)
def test_ahead_of_a_newcomer_are_its_own_and_as_many_turns_of_the_others(held, ahead):
    budget = places(100)
    for caller in held:
        assert budget.account(*caller).try_take(1)

    assert budget.account("a", "1").ahead == ahead


PEER = "ipv4:10.0.0.7:4711"


def test_what_a_router_tells_divides_callers_as_they_are_and_names_nobody():
    told = [
        told_caller_of(PEER, metadata_of((address, connection)))
        for address, connection in [("ipv4:10.1.1.1", "1"), ("ipv4:10.1.1.1", "2"), ("b", "1")]
    ]

    assert [caller[:2] for caller in told] == [caller_of(PEER)] * 3
    assert sorted(Counter(caller[2] for caller in told).values()) == [1, 2]
    assert len({caller[3] for caller in told}) == 3
    assert not any("10.1.1.1" in name for caller in told for name in caller)


@pytest.mark.parametrize(
    "said",
    ["", ".", "a", ".b", "a" * 33 + ".b", "a." + "b" * 33, b"a.b"],
)
def test_what_is_no_name_tells_of_nobody(said):
    assert told_caller_of(PEER, [("lumen-caller", said)]) == caller_of(PEER)
    assert told_caller_of(PEER, None) == caller_of(PEER)
