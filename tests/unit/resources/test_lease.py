"""One writer at a time: waiting, taking over, and noticing a loss."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import orjson
import pytest

from lumen_resources.errors import SourceUnavailableError
from lumen_resources.fetch.lease import FILE_NAME, Lease


def foreign_lease(folder: Path, **changes: object) -> None:
    """What a process on another node would have left."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"nonce": "theirs", "count": 1, "host": "node-2", "pid": 1, "process": "x/y/1"}
    (folder / FILE_NAME).write_bytes(orjson.dumps({**content, **changes}))


def test_a_lease_is_there_while_held_and_gone_after(tmp_path):
    with Lease(tmp_path) as lease:
        lease.ensure_held()
        assert json.loads((tmp_path / FILE_NAME).read_text())["pid"]
        assert not lease.waited

    assert not (tmp_path / FILE_NAME).exists()


def test_the_second_waits_for_the_first_and_is_told_who_holds_it(tmp_path):
    told: list[str] = []
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        def note(holder: str) -> None:
            told.append(holder)
            waiting.set()

        with Lease(tmp_path, waiting=note):
            order.append("second")

    with Lease(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join(10)

    assert order == ["first", "second"]
    assert len(told) == 1
    assert "process" in told[0]


def test_a_lease_that_nobody_renews_is_taken_over_after_its_duration(tmp_path):
    foreign_lease(tmp_path)

    with Lease(tmp_path, duration_s=0.2) as lease:
        lease.ensure_held()

    assert lease.waited


class RenewedAtEachLook(Lease):
    """A lease whose holder renews it between any two looks, however busy the machine is."""

    def _content(self):
        content = super()._content()
        held = orjson.loads(content)
        self._path.write_bytes(orjson.dumps(held | {"count": held["count"] + 1}))
        return content


def test_a_lease_that_is_renewed_is_not_taken_over(tmp_path):
    foreign_lease(tmp_path)
    with (
        pytest.raises(SourceUnavailableError, match="is held by"),
        RenewedAtEachLook(tmp_path, duration_s=0.2, patience_s=0.5),
    ):
        pass

    assert json.loads((tmp_path / FILE_NAME).read_text())["nonce"] == "theirs"


def test_a_holder_that_died_on_this_machine_is_not_waited_for(tmp_path):
    hold_and_die = (
        "import os, sys; from pathlib import Path; from lumen_resources.fetch.lease import Lease\n"
        "Lease(Path(sys.argv[1]), duration_s=3600).__enter__(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", hold_and_die, str(tmp_path)], check=False, timeout=60)
    assert (tmp_path / FILE_NAME).exists()

    with Lease(tmp_path, duration_s=3600, patience_s=5) as lease:
        assert not lease.waited


def test_a_process_that_reuses_a_dead_holders_id_is_not_taken_for_it(tmp_path):
    with Lease(tmp_path):
        content = json.loads((tmp_path / FILE_NAME).read_text())
    boot, _, started = content["process"].rpartition("/")
    foreign_lease(tmp_path, pid=content["pid"], process=f"{boot}/{int(started) - 1}")

    with Lease(tmp_path, duration_s=3600, patience_s=5) as lease:
        assert not lease.waited


def test_a_lease_that_another_took_over_is_lost_and_left_to_it(tmp_path):
    with Lease(tmp_path, duration_s=3600) as lease:
        foreign_lease(tmp_path)
        with pytest.raises(SourceUnavailableError, match="taken over"):
            lease.ensure_held()

    assert json.loads((tmp_path / FILE_NAME).read_text())["nonce"] == "theirs"


def test_a_damaged_lease_is_treated_as_one_that_nobody_renews(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"\0\xff")

    with Lease(tmp_path, duration_s=0.2):
        pass
