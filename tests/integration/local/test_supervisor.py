"""What the supervisor does with programs that crash, hang, refuse or obey."""

import json
import os
import signal

import psutil
from local_runs import a_deployment, a_program, a_server, alive, until

from lumen_local.show import events
from lumen_local.supervise.supervisor import RunOutcome
from lumen_manifest.conditions import Reason
from lumen_process.backoff import Backoff


def says(**message) -> str:
    """A program that writes its termination message; it fails unless it says Verified."""
    code = 0 if message.get("reason") == "Verified" else 1
    return (
        "import os, sys\n"
        f"open(os.environ['LUMEN_TERMINATION_LOG'], 'w').write({json.dumps(message)!r})\n"
        f"sys.exit({code})"
    )


async def test_a_service_is_ready_when_its_health_service_says_so_and_not_before(
    supervise, tmp_path
):
    (tmp_path / "clip.switch").write_text("loading")
    async with supervise("clip") as run:
        await run.until(events.LogLine, text="clip listens")
        before = run.told()
        run.switch("clip", "ready")
        await run.until(events.AllReady)

        assert before == ["not ready"]
        assert run.told() == ["not ready", "ready"]


async def test_a_server_that_says_not_serving_is_taken_out_and_comes_back(supervise, tmp_path):
    async with supervise("clip") as run:
        await run.until(events.Ready)
        run.switch("clip", "loading")
        await run.until(events.NotReady)
        run.switch("clip", "ready")
        await run.until(events.Ready, count=2)

        assert run.told() == ["not ready", "ready", "not ready", "ready"]


async def test_a_killed_server_is_started_again_and_serves_again(supervise, tmp_path):
    async with supervise("clip") as run:
        first = await run.until(events.Ready)
        os.kill(server_pid(run), signal.SIGKILL)
        failed = await run.until(events.Failed)
        again = await run.until(events.Ready, count=2)

        assert failed.failure.reason is Reason.SERVER_CRASHED
        assert "SIGKILL" in failed.failure.message
        assert (first.restarts, again.restarts) == (0, 1)
        assert run.seen(events.Restarted, restarts=1)


async def test_a_program_that_keeps_crashing_waits_longer_each_time(supervise):
    crashing = a_program("server", "import sys; print('no such device'); sys.exit(3)")
    backoff = Backoff(0.02, 0.1, chance=0)
    async with supervise(clip=a_deployment(crashing), backoff=backoff) as run:
        await run.until(events.Failed, count=5)

        failures = run.seen(events.Failed)[:5]
        assert [f.retry_s for f in failures] == [0.02, 0.04, 0.08, 0.1, 0.1]
        assert "exit code 3" in failures[0].failure.message
        assert "no such device" in failures[0].failure.message


async def test_a_server_that_fails_its_liveness_probe_is_drained_and_started_again(
    supervise, tmp_path
):
    async with supervise("clip") as run:
        await run.until(events.Ready)
        run.switch("clip", "dead")
        failed = await run.until(events.Failed)
        run.switch("clip", "ready")
        await run.until(events.Ready, count=2)

        assert "liveness" in failed.failure.message
        assert run.diary()[:2] == ["clip SIGTERM", "clip ends"]
        # A look at its readiness may or may not have come in between.
        assert [kind for kind in run.told() if kind != "not ready"] == [
            *("ready", "terminating", "gone", "ready")
        ]


async def test_init_steps_run_once_and_in_order_however_many_replicas_there_are(
    supervise, tmp_path
):
    note = "open({!r}, 'a').write('{}\\n')"
    steps = [
        a_program(name, note.format(str(tmp_path / "order"), name))
        for name in ("resources", "prepare")
    ]
    async with supervise(clip=a_deployment(*steps, a_server("clip", tmp_path)), replicas=2) as run:
        await run.until(events.AllReady)

        assert (tmp_path / "order").read_text().split() == ["resources", "prepare"]
        assert {event.replica for event in run.seen(events.Ready)} == {0, 1}


async def test_a_bad_checksum_ends_its_service_and_no_other(supervise, tmp_path):
    bad = says(
        reason="ChecksumMismatch", message="vision.onnx is damaged.", remedy="Fetch.", file="v"
    )
    async with supervise(
        "clip", birds=a_deployment(a_program("resources", bad), a_server("birds", tmp_path))
    ) as run:
        everything = await run.until(events.AllReady)
        (failed,) = run.seen(events.Failed)

        assert failed.failure.reason is Reason.CHECKSUM_MISMATCH
        assert failed.failure.remedy == "Fetch."
        assert failed.retry_s is None
        assert everything.failed == ("birds",)
        assert not run.told("birds")


async def test_a_failure_that_is_named_is_told_once_and_another_with_all_its_lines(
    supervise, tmp_path
):
    noise = "print('the log says it too', flush=True)\n"
    named = noise + says(reason="ModelInfoInvalid", message="No name.")
    unnamed = noise + "raise SystemExit(1)"
    async with supervise(
        clip=a_deployment(
            a_program("resources", named, log_level="info"), a_server("clip", tmp_path)
        ),
        birds=a_deployment(a_program("server", unnamed, log_level="info")),
    ) as run:
        await run.until(events.Failed, service="clip")
        await run.until(events.Failed, service="birds")

        assert [line.service for line in run.seen(events.LogLine)][:1] == ["birds"]
        assert not run.seen(events.LogLine, service="clip")


async def test_a_run_in_which_nothing_can_ever_serve_ends_by_itself(supervise, tmp_path):
    bad = a_program("resources", says(reason="ModelInfoInvalid", message="No name."))
    async with supervise("router", clip=a_deployment(bad, a_server("clip", tmp_path))) as run:
        outcome = await run.task

        assert outcome is RunOutcome.NOTHING_LEFT
        assert not run.seen(events.AllReady)


async def test_a_source_that_is_away_is_asked_again(supervise, tmp_path):
    away = {"reason": "SourceUnreachable", "message": "The hub does not answer."}
    code = (
        f"import os, pathlib; mark = pathlib.Path({str(tmp_path / 'tried')!r})\n"
        "if not mark.exists():\n"
        "    mark.touch()\n"
        f"    open(os.environ['LUMEN_TERMINATION_LOG'], 'w').write({json.dumps(away)!r})\n"
        "    raise SystemExit(1)"
    )
    step = a_program("resources", code)
    async with supervise(clip=a_deployment(step, a_server("clip", tmp_path))) as run:
        await run.until(events.AllReady)
        (failed,) = run.seen(events.Failed)

        assert failed.failure.reason is Reason.SOURCE_UNREACHABLE
        assert failed.retry_s is not None


async def test_the_router_drains_before_the_servers_do(supervise, tmp_path):
    async with supervise("clip", "birds", "router") as run:
        await run.until(events.AllReady)
        run.stop.set()
        outcome = await run.task

        assert outcome is RunOutcome.STOPPED
        assert run.diary()[:2] == ["router SIGTERM", "router ends"]
        assert sorted(run.diary()[2:]) == [
            *("birds SIGTERM", "birds ends", "clip SIGTERM", "clip ends")
        ]
        assert run.kinds()[-2:] == [events.RunStopping, events.Stopped]
        for name in ("clip", "birds"):
            assert run.told(name)[-2:] == ["terminating", "gone"]


async def test_a_stubborn_server_is_killed_after_its_grace_period(supervise, tmp_path):
    stubborn = a_server("clip", tmp_path, habits="stubborn")
    async with supervise(clip=a_deployment(stubborn, grace_s=1)) as run:
        await run.until(events.AllReady)
        pid = server_pid(run)
        run.stop.set()
        await run.task

        assert run.diary() == ["clip SIGTERM"]
        assert run.seen(events.Stopped)[0].killed == ("clip",)
        assert not alive(pid)


async def test_a_stop_during_an_init_step_ends_that_step(supervise, tmp_path):
    step = a_program("resources", "print('fetching', flush=True); import signal; signal.pause()")
    async with supervise(clip=a_deployment(step, a_server("clip", tmp_path))) as run:
        await run.until(events.LogLine, text="fetching")
        run.stop.set()

        assert await run.task is RunOutcome.STOPPED
        assert not run.seen(events.Failed)


async def test_a_servers_own_processes_end_with_it(supervise, tmp_path):
    parent = a_server("clip", tmp_path, habits="parent")
    async with supervise(clip=a_deployment(parent)) as run:
        await run.until(events.AllReady)
        grandchild = int(run.diary()[0].split()[-1])
        run.stop.set()
        await run.task
        ran = alive(grandchild)
    # It lives in a session of its own: the reaper's last look finds it by the run's id.

    assert ran
    await until(lambda: not alive(grandchild))


async def test_a_program_that_does_not_exist_is_named(supervise):
    missing = {"name": "server", "command": ["/nonexistent/lumen-server"]}
    async with supervise(clip=a_deployment(missing)) as run:
        failed = await run.until(events.Failed)

        assert "/nonexistent/lumen-server cannot be started" in failed.failure.message


def server_pid(run) -> int:
    """The server's pid, by its environment: nothing else in the run carries its name."""
    (pid,) = [
        process.pid
        for process in psutil.process_iter()
        if f"{run.tmp_path}" in " ".join(_environ(process).values())
        and "LUMEN_HEALTH_PORT" in _environ(process)
    ]
    return pid


def _environ(process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}
