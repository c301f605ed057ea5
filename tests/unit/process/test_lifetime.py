"""A process of ours ends with its parent, and by one signal gently or by two at once."""

import os
import select
import signal
import subprocess
import sys
import textwrap

import pytest

WAIT_S = 60

WAITS = """
    import asyncio, sys
    from lumen_process.lifetime import terminate_on_signal

    async def main():
        stop = terminate_on_signal()
        print("ready", flush=True)
        await stop.wait()
        print("stopping", flush=True)
        if "finish" not in sys.argv:
            await asyncio.Event().wait()

    asyncio.run(main())
"""


def started(code: str, *arguments: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], WAIT_S)[0], "nothing was written"
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_the_process_to_end(number):
    with started(WAITS, "finish") as process:
        assert line(process) == "ready"
        process.send_signal(number)

        assert line(process) == "stopping"
        assert process.wait(WAIT_S) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_it_at_once(number):
    with started(WAITS) as process:
        assert line(process) == "ready"
        process.send_signal(signal.SIGTERM)
        assert line(process) == "stopping"
        process.send_signal(number)

        assert process.wait(WAIT_S) == 128 + number


def test_a_process_dies_with_its_parent():
    child = """
        import signal
        from lumen_process.lifetime import die_with_parent
        die_with_parent()
        print("ready", flush=True)
        signal.pause()
    """
    parent = f"""
        import os, subprocess, sys
        child = subprocess.Popen(
            [sys.executable, "-c", {textwrap.dedent(child)!r}],
            env={{**os.environ, "LUMEN_PARENT_PID": str(os.getpid())}},
        )
        sys.stdin.read()
        os._exit(0)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert line(process) == "ready"
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()  # the parent ends; the child holds the other end of stdout
        assert select.select([process.stdout], [], [], WAIT_S)[0], "the child lives on"

        assert process.stdout.read() == ""


@pytest.mark.parametrize(
    ("pid", "code", "said"), [("1", 1, ""), ("not a pid", 1, ""), ("", 0, "started\n")]
)
def test_a_process_whose_parent_is_another_does_not_start_and_without_one_it_does(pid, code, said):
    live = "from lumen_process.lifetime import die_with_parent as live; live(); print('started')"
    with started(live, LUMEN_PARENT_PID=pid) as process:
        out, _ = process.communicate(timeout=WAIT_S)

    assert (process.returncode, out) == (code, said)


def test_these_modules_do_not_import_grpc():
    code = """
        import sys
        import lumen_process.http_status, lumen_process.logs, lumen_process.lifetime
        print("grpc" in sys.modules)
    """
    with started(code) as process:
        assert process.communicate(timeout=WAIT_S)[0] == "False\n"
