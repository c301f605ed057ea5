"""Nothing outlives `kill -9` of its parent: not a server, not what a server has started."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from local_runs import alive, until

VICTIM = Path(__file__).parent / "victim.py"


@pytest.fixture
def victim(tmp_path):
    path = {"PYTHONPATH": str(VICTIM.parents[2] / "worlds")}
    process = subprocess.Popen([sys.executable, VICTIM, tmp_path], env=os.environ | path)
    yield process
    process.kill()
    process.wait()


def pids(tmp_path) -> list[int]:
    file = tmp_path / "pids"
    return [int(word) for word in file.read_text().split()] if file.exists() else []


def grandchild(tmp_path) -> int:
    (line,) = [n for n in (tmp_path / "diary").read_text().splitlines() if "grandchild" in n]
    return int(line.split()[-1])


async def test_kill_9_of_the_parent_leaves_no_process(victim, tmp_path):
    await until(lambda: bool(pids(tmp_path)))
    family = [*pids(tmp_path), grandchild(tmp_path)]
    lived = [alive(pid) for pid in family]
    victim.send_signal(signal.SIGKILL)
    await until(lambda: not any(alive(pid) for pid in family), lambda: str(family))

    assert lived == [True, True, True]


async def test_a_killed_reaper_is_replaced_and_its_successor_does_the_same(victim, tmp_path):
    await until(lambda: bool(pids(tmp_path)))
    server, first = pids(tmp_path)
    psutil.Process(first).kill()
    await until(lambda: pids(tmp_path)[1] != first)
    survived = alive(server)
    family = [*pids(tmp_path), grandchild(tmp_path)]
    victim.send_signal(signal.SIGKILL)
    await until(lambda: not any(alive(pid) for pid in family), lambda: str(family))

    assert survived
