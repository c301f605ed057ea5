"""`lumen up --mdns`: the router is found on the local network while everything is ready."""

import signal

from init_containers import until
from local_runs import ENVIRONMENT, Lumen
from zeroconf import ServiceBrowser, Zeroconf

TYPE = "_lumen-test._tcp.local."


class Seen:
    """What a browser hears of a type."""

    def __init__(self):
        self.ports, self.gone = {}, []

    def add_service(self, zeroconf, kind, name):
        info = zeroconf.get_service_info(kind, name, 10_000)
        self.ports[name] = info.port if info else None

    def update_service(self, zeroconf, kind, name):
        """Nothing is of interest but that it is there."""

    def remove_service(self, zeroconf, kind, name):
        self.gone.append(name)


def test_a_router_is_announced_when_all_is_ready_and_says_goodbye(manifest, tmp_path, monkeypatch):
    for name, value in {"TYPE": TYPE, "NAME": "attic", "UUID": "0123456789abcdef"}.items():
        monkeypatch.setitem(ENVIRONMENT, f"CLIP_MDNS_{name}", value)
    monkeypatch.setitem(ENVIRONMENT, "ADVERTISE_IP", "127.0.0.1")
    zeroconf, seen = Zeroconf(interfaces=["127.0.0.1"]), Seen()
    ServiceBrowser(zeroconf, TYPE, seen)
    up = ("up", "-f", manifest("clip"), "--port", "0", "--state-dir", str(tmp_path / "s"))
    try:
        with Lumen(*up, "--mdns", cwd=tmp_path) as run:
            address = run.until_up()
            until(lambda: seen.ports)
            (name,) = seen.ports
            run.process.send_signal(signal.SIGTERM)
            until(lambda: seen.gone)
            code = run.ended()
    finally:
        zeroconf.close()

    assert name == f"attic-01234567.{TYPE}"
    assert seen.ports[name] == int(address.rpartition(":")[2])
    assert seen.gone == [name]
    assert code == 0
