"""Many items: what does one failure cost, what is told in which order, how much is held?"""

import asyncio
import gc
import io
import sqlite3
import threading
import warnings
import weakref

import grpc
import numpy as np
import pytest
from scripted_inference import DIM, Refusal, a_scripted_server, vector_of

from lumen_client import (
    AsyncClient,
    Client,
    ContentError,
    ItemError,
    NotAllowed,
    Text,
    TextCut,
)


def refuses_bad(payload):
    if payload.startswith(b"bad"):
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "The text is bad. Send another.")
    return {}


@pytest.fixture
def server():
    with a_scripted_server(refuses_bad) as served:
        yield served


@pytest.fixture
def client(server):
    with Client(server.address) as opened:
        yield opened


def until_error(answers):
    """Return the answers that came, and what ended them."""
    told = []
    try:
        told.extend(answers)  # keeps what came before
    except Exception as error:  # noqa: BLE001 - looked at by the test
        return told, error
    raise AssertionError("nothing was raised")


class Vanishes:
    """A path that is none any more when it is looked at."""

    def __fspath__(self):
        raise FileNotFoundError(2, "vanished")


class OutOfMemory(io.RawIOBase):
    def read(self, size=-1):
        raise MemoryError


BROKEN = [
    "bad text",
    "missing.jpg",
    Text("caf\udce9"),
    "",
    17,
    None,
    object(),
    Vanishes(),
    OutOfMemory(),
    b"no picture",
    b"\0\0\0\x18ftypheic" + b"\0" * 20,
    np.zeros((2, 2), np.uint8),
    Text("\u200b"),
    io.StringIO("a text"),
]


def test_one_items_failure_costs_that_item_and_order_is_kept(client):
    items = [each for broken in BROKEN for each in ("a cat", broken)] + ["a dog"]

    answers = list(client.encode_each(items, prefetch=3))

    assert [answer.index for answer in answers] == list(range(len(items)))
    assert all(answer.item is item for answer, item in zip(answers, items, strict=True))
    for answer in answers:
        if answer.item is items[0] or answer.index == len(items) - 1:
            assert np.array_equal(answer.answer.vector, vector_of(answer.item.encode()))
        else:
            assert answer.answer is None
            assert str(answer.error)


def test_encode_raises_the_first_failure_with_the_rows_of_all_others(client):
    with pytest.raises(ItemError) as failure:
        client.encode(["a cat", "bad 1", "a dog", "missing.jpg"])

    assert failure.value.index == 1
    assert failure.value.__cause__.code == "INVALID_ARGUMENT"
    assert [each.index for each in failure.value.failures] == [1, 3]
    rows = failure.value.vectors
    assert np.array_equal(rows[[0, 2]], [vector_of(b"a cat"), vector_of(b"a dog")])
    assert np.isnan(rows[[1, 3]]).all()


def test_texts_are_texts_whatever_they_look_like(client, server):
    vectors = client.encode(["a cat"], texts=["photos/*.jpg", "x.jpg"])

    assert vectors.shape == (3, DIM)
    assert sorted(server.calls) == [b"a cat", b"photos/*.jpg", b"x.jpg"]
    assert client.encode(texts=["cat"]).shape == (1, DIM)


def test_a_folder_means_its_pictures(client, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "birds" / "deep").mkdir(parents=True)
    for name in ("b.jpg", "a.JPG", "deep/c.jpeg", ".hidden.jpg"):
        (tmp_path / "birds" / name).write_bytes(b"\xff\xd8\xff\xe0" + name.encode())
    (tmp_path / "birds" / "notes.txt").write_text("where they were seen")

    for said in ("birds", tmp_path / "birds"):
        answers = list(client.encode_each([said]))
        assert [a.item.name for a in answers] == ["a.JPG", "b.jpg", "c.jpeg"]
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ContentError, match=r"nothing' holds no pictures"):
        client.encode(["nothing"])


def test_what_a_generator_raises_comes_after_the_answers_of_what_it_gave(client):
    def items():
        yield from ["a", "b"]
        raise LookupError("mine")

    told, error = until_error(client.encode_each(items(), prefetch=50))

    assert [answer.item for answer in told] == ["a", "b"]
    assert (type(error), error.args) == (LookupError, ("mine",))


def test_a_generator_runs_where_the_caller_does(client):
    table = sqlite3.connect(":memory:")  # refuses every thread but this
    rows = table.execute("values ('a cat'), ('a dog')")

    vectors = client.encode(text for (text,) in rows)

    assert np.array_equal(vectors, [vector_of(b"a cat"), vector_of(b"a dog")])


def test_the_client_may_be_called_from_its_own_generator_and_callbacks(client):
    inside = []

    def items():
        for text in ("a", "b"):
            inside.append(client.encode([f"in {text}"]))
            yield text

    client.encode(items(), on_done=lambda answer: inside.append(client.embed(answer.item).vector))

    assert len(inside) == 4


def test_callbacks_are_told_in_order_and_take_all(client):
    told = []
    result = client.encode(
        ["a", "bad", "c"],
        on_done=lambda answer: told.append(("done", answer.index)),
        on_error=lambda answer: told.append(("error", answer.index)),
        on_always=lambda answer: told.append(("always", answer.index)),
    )

    assert result is None
    assert told == [
        *(("done", 0), ("always", 0), ("error", 1), ("always", 1), ("done", 2), ("always", 2))
    ]


def test_a_failure_that_was_told_has_a_row_of_nan(client):
    told = []

    vectors = client.encode(["a", "bad", "c"], on_error=told.append)

    assert [answer.index for answer in told] == [1]
    assert np.isnan(vectors).all(axis=1).tolist() == [False, True, False]


def test_what_a_callback_raises_ends_the_batch(client, server):
    def stop(answer):
        raise KeyError(answer.index)

    with pytest.raises(KeyError):
        client.encode((f"text {n}" for n in range(10_000)), prefetch=4, on_done=stop)

    assert len(server.calls) < 100
    assert client.encode(["still open"]).shape == (1, DIM)


class Held(Text):
    """A text that a weak reference can follow."""


@pytest.mark.parametrize("text", ["a cat", "bad"])
def test_of_many_items_a_few_are_held(client, text):
    alive, most, count = weakref.WeakSet(), 0, 1_000

    def items():
        nonlocal most
        for _ in range(count):
            item = Held(text)
            alive.add(item)
            yield item
            del item
            most = max(most, len(alive))

    gc.collect()
    gc.disable()  # what only it would free, is held
    try:
        for n, answer in enumerate(client.encode_each(items(), prefetch=10)):
            assert answer.index == n
    finally:
        gc.enable()

    assert n == count - 1
    assert most <= 15


def test_no_more_than_prefetch_are_asked_at_once_and_the_first_is_told_at_once():
    gate = threading.Event()

    def waits(payload):
        if payload != b"first":
            gate.wait(60)
        return {}

    with a_scripted_server(waits) as server, Client(server.address) as client:
        given = []

        def items():
            for text in ["first", *map(str, range(50))]:
                given.append(text)
                yield text

        answers = client.encode_each(items(), prefetch=5)
        assert next(answers).item == "first"
        assert len(given) <= 7
        gate.set()
        assert len(list(answers)) == 50
        assert server.most_at_once <= 5


def test_what_no_item_is_to_blame_for_ends_the_batch():
    def refuses(payload):
        if payload == b"3":
            raise Refusal(grpc.StatusCode.UNAUTHENTICATED, "The token is not accepted.")
        return {}

    with a_scripted_server(refuses) as server, Client(server.address) as client:
        numbers = (str(n) for n in range(1000))
        told, error = until_error(client.encode_each(numbers, prefetch=1))

    assert [answer.item for answer in told] == ["0", "1", "2"]
    assert isinstance(error, NotAllowed)
    assert f"from 127.0.0.1:{server.port}: The token is not" in str(error)
    assert len(server.calls) == 4


def test_texts_that_were_cut_are_said_once_and_by_each_answer():
    cuts = lambda payload: {"truncated": "1"} if len(payload) > 5 else {}  # noqa: E731
    with a_scripted_server(cuts) as server, Client(server.address) as client:
        with pytest.warns(TextCut, match=r"2 of the texts \(items 1, 2\)") as warned:
            client.encode(["a", "b" * 9, "c" * 9])
        flags = [a.answer.truncated for a in client.encode_each(["a", "b" * 9])]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            client.encode(["a"])

    assert len(warned) == 1
    assert flags == [False, True]


@pytest.mark.parametrize(
    "content",
    ["a cat", b"x", Text("a"), np.zeros((2, 2, 3), np.uint8), io.BytesIO(b"x"), None, 5],
)
async def test_a_single_item_is_no_iterable_of_items(client, server, content):
    for call in (client.encode, client.encode_each, client.classify_each):
        with pytest.raises(TypeError, match="iterable of items"):
            call(content)
    async with AsyncClient(server.address) as another:
        with pytest.raises(TypeError, match="iterable of items"):
            await another.encode(content)
    with pytest.raises(TypeError, match="texts="):
        client.encode(texts="a cat")


def test_a_prefetch_of_nothing_is_refused(client):
    with pytest.raises(ValueError, match="prefetch"):
        client.encode(["a"], prefetch=0)


async def test_the_asynchronous_client_does_all_that_too(server):
    async def items():
        yield "a"
        yield "bad"
        await asyncio.sleep(0)
        yield "c"
        raise LookupError("mine")

    async with AsyncClient(server.address) as client:
        answers = client.encode_each(items())
        told = [await anext(answers) for _ in range(3)]
        with pytest.raises(LookupError, match="mine"):
            await anext(answers)
        vectors = await client.encode(iter(["a", "c"]), texts=["d"])

    assert [(one.index, one.error is None) for one in told] == [(0, True), (1, False), (2, True)]
    assert np.array_equal(vectors, [vector_of(each) for each in (b"a", b"c", b"d")])


async def test_a_stream_that_is_left_leaves_nothing_behind(server):
    async with AsyncClient(server.address) as client:
        answers = client.encode_each(str(n) for n in range(1000))
        async for _ in answers:
            break
        await answers.aclose()

        async with asyncio.timeout(30):  # gRPC's own end a moment later
            while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
