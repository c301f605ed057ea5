"""How sizes and durations read."""

from lumen_process.wording import duration, size


def test_a_size_has_three_digits_and_a_duration_two_units_at_most():
    assert [size(n) for n in (0, 999, 1000, 5e12)] == ["0 B", "999 B", "1.0 kB", "5.0 TB"]
    assert [duration(s) for s in (5, 119, 300, 7500)] == [
        *("5.0 s", "119 s", "5 min 0 s", "2 h 5 min")
    ]
