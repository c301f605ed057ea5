"""Lines out of a process's output."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from lumen_local.show.log_lines import LineSplitter, plain_text


def test_lines_arrive_whole_however_the_output_is_cut():
    splitter = LineSplitter()

    assert splitter.push(b"one\ntw") == ["one"]
    assert splitter.push(b"o\r\nthree") == ["two"]
    assert splitter.close() == ["three"]


def test_an_endless_line_is_cut_and_costs_no_memory():
    splitter = LineSplitter(max_chars=10)
    for _ in range(1000):
        splitter.push(b"x" * 1000)
    (line,) = splitter.push(b"\n")

    assert line == "x" * 10 + "…"
    assert splitter.push(b"next\n") == ["next"]


def test_control_sequences_never_reach_the_terminal():
    assert plain_text("\x1b[2J\x1b[31mred\x1b[0m\x07 \x1b]0;t\x07a\tb") == (
        r"\x1b[2Jred\x07 \x1b]0;t\x07a" "\tb"
    )


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_where_the_output_is_cut_does_not_matter(data, cuts):
    whole = LineSplitter(max_chars=20)
    expected = [*whole.push(data), *whole.close()]
    parts = LineSplitter(max_chars=20)
    edges = [0, *sorted(cuts), len(data)]
    found = [
        line for start, end in itertools.pairwise(edges) for line in parts.push(data[start:end])
    ]

    assert [*found, *parts.close()] == expected
