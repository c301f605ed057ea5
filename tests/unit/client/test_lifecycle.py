"""A client that is used where it cannot be: a sentence, no hang, no crash.

Each in a process of its own, which has to end by itself within a bound.
"""

import asyncio
import signal
import subprocess
import sys
import textwrap

import pytest
from scripted_inference import a_scripted_server

from lumen_client import AsyncClient, Client, UsageError

BOUND_S = 60
HEAD = """
import asyncio, multiprocessing, os, sys, threading, time
from lumen_client import AsyncClient, Client, ClientError, UsageError
address = sys.argv[1]
def said(call):
    try:
        return f"no error but {call()!r}"
    except ClientError as error:
        return f"{type(error).__name__}: {error}"
"""


def ended(code: str, address: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HEAD + textwrap.dedent(code), address],
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )


@pytest.fixture(scope="module")
def server():
    with a_scripted_server() as served:
        yield served


NOT_OPEN = "UsageError: the client is not open. Call it inside of: "
CASES = {
    "never entered": (
        """
        client = Client(address)
        print(said(lambda: client.encode(["a"])))
        print(said(lambda: list(client.encode_each(["a"]))))
        print(said(client.health))
        client.__exit__()
        """,
        [NOT_OPEN + "with Client(...)"] * 3,
    ),
    "after its end": (
        """
        with Client(address) as client:
            left = client.encode_each(iter(lambda: "a", ""))
            next(left)
        print(said(lambda: client.embed("a")))
        print(said(lambda: list(left)))
        client.__exit__()
        """,
        [NOT_OPEN + "with Client(...)", "UsageError: the client was closed during this call."],
    ),
    "entered twice, and anew": (
        """
        with Client(address) as client:
            print(said(client.__enter__))
            client.health()
        with client:
            print(client.encode(["a"]).shape)
        """,
        ["UsageError: the client is open already. Leave its block first", "(1, 4)"],
    ),
    "in a fork": (
        """
        with Client(address) as client:
            client.encode(["a"])
            child = os.fork()
            if child:
                os.waitpid(child, 0)
            else:
                print(said(lambda: client.encode(["a"])), flush=True)
            print(said(lambda: client.encode(["a"]).shape), flush=True)
        """,
        ["UsageError: the client was opened in another process."] * 2 + ["no error but (1, 4)"],
    ),
    "anew in a fork": (
        """
        with Client(address) as client:
            client.encode(["a"])
            child = os.fork()
            if not child:
                print(said(Client(address).__enter__), flush=True)
            else:
                os.waitpid(child, 0)
                print(client.encode(["a"]).shape, flush=True)
        """,
        ["UsageError: this process was forked from one that had a client open", "(1, 4)"],
    ),
    "first in a fork": (
        """
        client = Client(address)
        child = os.fork()
        with client:
            print(client.encode(["a"]).shape, flush=True)
        if child:
            os.waitpid(child, 0)
        """,
        ["(1, 4)", "(1, 4)"],
    ),
    "from many threads": (
        """
        with Client(address) as client:
            done = []
            def work(n):
                done.append(client.encode([f"{n} {m}" for m in range(20)]).shape)
            threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
            [t.start() for t in threads]
            [t.join() for t in threads]
            print(set(done), len(done))
        """,
        ["{(20, 4)} 8"],
    ),
    "closed by another thread during calls": (
        """
        client = Client(address)
        client.__enter__()
        told = []
        def endless():
            while True:
                yield "a"
        def work():
            told.append(said(lambda: list(client.encode_each(endless()))))
        threads = [threading.Thread(target=work) for _ in range(4)]
        [t.start() for t in threads]
        time.sleep(0.5)
        client.__exit__()
        [t.join() for t in threads]
        print({each.split(":")[0] for each in told} <= {"UsageError", "CallStopped"}, len(told))
        """,
        ["True 4"],
    ),
    "from an asynchronous generator that it reads": (
        """
        async def items():
            yield "a"
            client.embed("b")
        with Client(address) as client:
            print(said(lambda: client.encode(items())))
        """,
        ["UsageError: the client is called from an asynchronous generator that it reads itself."],
    ),
    "in another event loop": (
        """
        async def main():
            client = AsyncClient(address)
            async with client:
                print(said(lambda: asyncio.run_coroutine_threadsafe(
                    client.encode(["a"]), other).result()))
                try:
                    await client.__aenter__()
                except ClientError as error:
                    print(error)
            try:
                await client.encode(["a"])
            except ClientError as error:
                print(type(error).__name__, error)
        other = asyncio.new_event_loop()
        threading.Thread(target=other.run_forever, daemon=True).start()
        asyncio.run(main())
        """,
        [
            "UsageError: the client was opened in another event loop.",
            "the client is open already",
            "UsageError the client is not open. Call it inside of: async with AsyncClient(...)",
        ],
    ),
    "never closed": (
        """
        client = Client(address)
        client.__enter__()
        print(client.encode(["a"]).shape)
        """,
        ["(1, 4)"],
    ),
    "never entered, never used": ("client = Client(address)", []),
}


@pytest.mark.parametrize(("code", "told"), CASES.values(), ids=CASES.keys())
def test_it_says_what_is_wrong_and_ends(server, code, told):
    ran = ended(code, server.address)

    lines = ran.stdout.splitlines()
    assert ran.returncode == 0, ran.stderr
    assert len(lines) == len(told), (lines, ran.stderr)
    for line, start in zip(lines, told, strict=True):
        assert line.startswith(start)
    assert "Traceback" not in ran.stderr
    assert "never awaited" not in ran.stderr


def test_ctrl_c_ends_a_call_at_once_and_leaves_no_noise():
    with a_scripted_server(lambda _: __import__("time").sleep(5) or {}) as server:
        code = """
        def items():
            while True:
                print("asked", flush=True)
                yield "a"
        with Client(address) as client:
            try:
                client.encode(items(), prefetch=2)
            except KeyboardInterrupt:
                print("stopped")
        """
        with subprocess.Popen(
            [sys.executable, "-c", HEAD + textwrap.dedent(code), server.address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout.readline() == "asked\n"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=BOUND_S)

    assert out.splitlines()[-1] == "stopped"
    assert err == ""
    assert process.returncode == 0


def test_a_client_that_cannot_be_opened_leaves_no_thread(monkeypatch):
    def fails(*_):
        raise OSError("no file descriptors left")

    monkeypatch.setattr("lumen_client.aio.Connection", fails)
    client = Client("grpc://127.0.0.1:1")

    with pytest.raises(OSError, match="descriptors"):
        client.__enter__()
    with pytest.raises(UsageError):
        client.health()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"timeout_s": -1}, "timeout_s"),
        ({"retries": -1}, "retries"),
        ({"token": "a\nb"}, "token"),
        ({"token": "ä"}, "token"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(options, says):
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match=says):
            kind("grpc://127.0.0.1:1", **options)


def test_a_client_opened_under_a_running_loop_works_there_too(server):
    async def main():
        with Client(server.address) as client:
            return await asyncio.to_thread(client.encode, ["a"])

    assert asyncio.run(main()).shape == (1, 4)
