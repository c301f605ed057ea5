"""Folders, locks and ports of a run."""

import os
import re
import socket
from pathlib import Path

import pytest

from lumen_local.errors import NotOurAddress, PortBusy, StateDirBusy, StateDirUnusable
from lumen_local.pod.machine import FreePorts, check_port
from lumen_local.state_dir import default_cache_dir, default_state_dir, open_run


def test_the_platforms_folders_are_used_and_relative_ones_ignored():
    assert default_state_dir({"XDG_STATE_HOME": "/s"}) == Path("/s/lumen")
    assert default_cache_dir({"XDG_CACHE_HOME": "relative"}) == Path.home() / ".cache/lumen"


def test_a_second_run_on_one_state_directory_is_refused_with_what_to_do(tmp_path):
    with (
        open_run(tmp_path / "s", tmp_path / "c"),
        pytest.raises(StateDirBusy, match=rf"pid {os.getpid()}.*--state-dir"),
        open_run(tmp_path / "s", tmp_path / "c"),
    ):
        pass


def test_a_run_clears_what_dead_ones_left_and_leaves_but_the_cache_and_the_lock(tmp_path):
    stale = tmp_path / "s" / "runs" / "20260101-000000-abc"
    stale.mkdir(parents=True)
    with open_run(tmp_path / "s", tmp_path / "c") as folders:
        folders.pod("clip-0").mkdir(parents=True)
        assert folders.run.is_dir()
        assert not stale.exists()
    with open_run(tmp_path / "s", tmp_path / "c"):
        pass

    assert list((tmp_path / "s" / "runs").iterdir()) == []
    assert (tmp_path / "c").is_dir()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with (
        pytest.raises(StateDirUnusable, match=r"file/s.*--state-dir"),
        open_run(tmp_path / "file" / "s", tmp_path / "c"),
    ):
        pass


def test_no_port_is_given_twice():
    ports = FreePorts("127.0.0.1")
    given = [ports.take() for _ in range(20)]

    assert len({p for of in given for p in (of.grpc, of.health, of.metrics)}) == 60


def test_a_busy_port_is_refused_with_who_holds_it_and_what_to_do():
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]

        with pytest.raises(PortBusy, match=rf"Port {port}.*pid {os.getpid()}.*--port"):
            check_port("127.0.0.1", port)


def test_port_zero_takes_a_free_one():
    assert check_port("127.0.0.1", 0) > 0


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("192.0.2.1", "has no address 192.0.2.1"),
        ("no such host", "has no address no such host"),
        ("", "is empty"),
    ],
)
def test_an_address_that_this_machine_does_not_have_is_refused(host, says):
    with pytest.raises(NotOurAddress, match=f"{re.escape(says)}.* 127.0.0.1 .* 0.0.0.0 "):
        check_port(host, 50051)
