"""What callers see while processes are killed under them."""

import signal
import threading
from collections import Counter

import psutil
import tiny_models

from lumen_client import Client, ServerError

CALLERS = 4
# A killed process may cost a call; it may never answer with a defect of ours.
TYPED = {"OK", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "CANCELLED"}


class Load:
    """A few callers, one call after the other, without any retry of their own."""

    def __init__(self, address: str) -> None:
        self.codes: Counter[str] = Counter()
        self._address = address
        self._stop = threading.Event()
        self._answered = threading.Condition()
        self._threads = [threading.Thread(target=self._call_on) for _ in range(CALLERS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call_on(self) -> None:
        picture = tiny_models.a_jpeg(5)
        with Client(f"grpc://{self._address}", timeout_s=30, retries=0) as client:
            while not self._stop.is_set():
                try:
                    client.classify(picture)
                    code = "OK"
                except ServerError as error:
                    code = error.code
                    self._stop.wait(0.05)  # a caller that is refused does not spin
                with self._answered:
                    self.codes[code] += 1
                    self._answered.notify_all()

    def answers(self, count: int) -> None:
        """Wait for that many more answers."""
        with self._answered:
            goal = self.codes["OK"] + count
            assert self._answered.wait_for(lambda: self.codes["OK"] >= goal, timeout=60)


def process_of(run, module: str) -> psutil.Process:
    (found,) = [child for child in run.family() if child.cmdline()[1:] == ["-m", module]]
    return found


def test_kill_9_of_server_and_router_under_load_gives_typed_errors_only(lumen, manifest, tmp_path):
    run = lumen(
        *("up", "-f", manifest("clip"), "--port", "0", "--state-dir", str(tmp_path / "state"))
    )
    with Load(run.until_up()) as load:
        load.answers(20)
        for module, service in (("lumen_serving", "clip"), ("lumen_router", "router")):
            before = load.codes.copy()
            process_of(run, module).send_signal(signal.SIGKILL)
            run.until("ready", service=service)
            load.answers(20)
            lost = {code: n for code, n in (load.codes - before).items() if code != "OK"}
            answered = load.codes["OK"] - before["OK"]
            print(f"kill -9 {module}: {answered} answered, lost {lost}")

    assert set(load.codes) <= TYPED
