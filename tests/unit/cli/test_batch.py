"""Many items a few at a time: rows as they come, and whatever ends the work keeps what is done."""

import asyncio
import csv
import io
import json
import resource
import signal
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest

from lumen_cli.batch import AHEAD, NAMED_AT_MOST, Tally, answer_in_order
from lumen_cli.embed.vector_file import VectorFile
from lumen_cli.row_stream import row_stream

ROWS = [{"item": "a", "dim": 2}, {"item": 'a much longer, "quoted" name', "dim": None}]


def test_answers_come_in_order_and_those_behind_a_slow_one_are_not_held_up():
    async def run():
        begun, given = [], []
        slow = asyncio.Event()

        async def work(n):
            begun.append(n)
            if n == 0:
                await slow.wait()
            elif n == AHEAD - 1:
                slow.set()
            return n

        await answer_in_order(range(1000), work, given.append)
        return begun, given

    begun, given = asyncio.run(run())
    assert given == list(range(1000))
    assert sorted(begun) == given


def test_items_are_taken_only_a_bounded_way_ahead_of_what_is_given():
    taken, most = 0, 0

    def items():
        nonlocal taken
        for n in range(500):
            taken += 1
            yield n

    def done(n):
        nonlocal most
        most = max(most, taken - n)

    async def work(n):
        return n

    asyncio.run(answer_in_order(items(), work, done))
    assert most <= AHEAD


@pytest.mark.parametrize("ends", ["cancelled", "failed"])
def test_what_is_answered_by_the_end_is_given(ends):
    async def run():
        given = []
        rest_is_answered = asyncio.Event()

        async def work(n):
            if n == 1:
                await rest_is_answered.wait()
                if ends == "failed":
                    raise ConnectionError
                await asyncio.Event().wait()
            if n == 4:
                rest_is_answered.set()
            return n

        task = asyncio.create_task(answer_in_order(range(5), work, given.append))
        await rest_is_answered.wait()
        await asyncio.sleep(0)
        if ends == "cancelled":
            task.cancel()
        with pytest.raises(asyncio.CancelledError if ends == "cancelled" else ConnectionError):
            await task
        return given

    assert asyncio.run(run()) == [0, 2, 3, 4]


def printed(capsys, output, rows, error=None):
    with suppress(KeyboardInterrupt), row_stream(("item", "dim"), output) as print_row:
        for row in rows:
            print_row(row)
        if error is not None:
            raise error
    return capsys.readouterr().out


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()], ids=["to the end", "stopped"])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_what_is_printed_is_valid_wherever_it_ends(capsys, error, count):
    rows = ROWS[:count]

    if rows or error is None:
        assert json.loads(printed(capsys, "json", rows, error)) == rows
    lines = printed(capsys, "jsonl", rows, error).splitlines()
    assert [json.loads(line) for line in lines] == rows
    read = list(csv.DictReader(io.StringIO(printed(capsys, "csv", rows, error))))
    assert [row["item"] for row in read] == [row["item"] for row in rows]
    assert len(printed(capsys, "table", rows, error).splitlines()) == (count + 1 if count else 0)


def test_a_row_is_out_before_the_next_one_is_known(capsys):
    for output in ("table", "json", "jsonl", "csv"):
        with row_stream(("item", "dim"), output) as print_row:
            print_row(ROWS[0])
            out = capsys.readouterr().out
            assert out.endswith("\n")
            assert "a" in out.splitlines()[-1]


def test_a_table_widens_and_cuts_nothing(capsys):
    lines = printed(capsys, "table", [*ROWS, ROWS[0]]).splitlines()

    assert lines == [
        "item  dim",
        "a     2",
        'a much longer, "quoted" name',
        "a                             2",
    ]


def test_failures_are_named_at_the_end_but_not_without_bound(capsys):
    tally = Tally("pictures")
    for n in range(100):
        tally.count(f"{n}.jpg", "is damaged" if n % 2 else "")
    tally.say_failures()

    said = capsys.readouterr().err.splitlines()
    assert said[0] == "50 of 100 pictures failed:"
    assert said[1] == "  1.jpg: is damaged"
    assert len(said) == 2 + NAMED_AT_MOST
    assert said[-1].startswith("  and 30 more")


def read_back(path):
    items = [json.loads(line) for line in path.with_suffix(".items.jsonl").open()]
    return np.load(path), items


def test_vectors_are_kept_with_their_names_also_when_the_work_is_stopped(tmp_path):
    path = tmp_path / "v.npy"
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)

    with suppress(KeyboardInterrupt), VectorFile(path) as file:
        file.add("a", vectors[0])
        file.skip("b", "is damaged")
        file.add("c", vectors[1])
        raise KeyboardInterrupt

    matrix, items = read_back(path)
    assert np.array_equal(matrix, vectors)
    assert [(each["item"], each["row"]) for each in items] == [("a", 0), ("b", None), ("c", 1)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v.items.jsonl", "v.npy"]


def test_without_a_vector_nothing_replaces_what_was_there(tmp_path):
    path = tmp_path / "v.npy"
    path.write_bytes(b"before")

    with VectorFile(path) as file:
        file.skip("b", "is damaged")

    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["v.npy"]


def test_a_vector_of_another_length_is_one_items_failure(tmp_path):
    with VectorFile(tmp_path / "v.npy") as file:
        file.add("a", np.zeros(3, np.float32))
        with pytest.raises(ValueError, match="4 numbers, those before it 3"):
            file.add("b", np.zeros(4, np.float32))

    assert read_back(tmp_path / "v.npy")[0].shape == (1, 3)


UNTIL_FULL = """
import sys, numpy as np
from pathlib import Path
from lumen_cli.embed.vector_file import VectorFile
try:
    with VectorFile(Path(sys.argv[1])) as file:
        for n in range(1000):
            file.add(str(n), np.full(256, n, np.float32))
except OSError as error:
    print(error.strerror)
"""


def test_a_full_disk_keeps_the_vectors_before_it(tmp_path):
    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))

    ran = subprocess.run(
        [sys.executable, "-c", UNTIL_FULL, str(tmp_path / "v.npy")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        preexec_fn=small_files,
    )

    assert ran.stdout.strip() == "File too large"
    matrix, items = read_back(tmp_path / "v.npy")
    assert matrix.shape == (9, 256)
    assert matrix[:, 0].tolist() == list(range(9))
    assert [each["row"] for each in items][:9] == list(range(9))
