"""Whose turn it is to be asked. In virtual time: what is slow is the name, and nobody answers."""

import asyncio
from collections import Counter

from virtual_time import clock, run

from lumen_operator.observe.kinds import Key
from lumen_operator.observe.networks import ExternalNetworks
from lumen_operator.observe.views import PodAddress
from lumen_operator.polling.status_poller import (
    AT_ONCE,
    OF_ONE_NAMESPACE,
    PodReports,
    by_their_addresses,
)

SLOW_S = 50.0


class Names:
    """A resolver that takes its time and knows no name; it remembers who was asked for."""

    def __init__(self):
        self.asked, self.out, self.most_out = [], Counter(), Counter()

    async def __call__(self, host):
        namespace = host.partition(".")[2]
        self.asked.append((clock(), host))
        self.out[namespace] += 1
        self.most_out[namespace] = max(self.most_out[namespace], self.out[namespace])
        self.most_out["all"] = max(self.most_out["all"], self.out.total())
        await asyncio.sleep(0.01 if namespace == "quiet" else SLOW_S)
        self.out[namespace] -= 1
        raise OSError("no such name")

    def when(self, host):
        return [at for at, asked in self.asked if asked == host]


def ask(reports, name, namespace):
    server = PodAddress(f"{namespace}/{name}", f"{name}.{namespace}", "server", external=True)
    reports.ask(Key("service", namespace, name), [server])


def crowded(script, *crowds, each=1000):
    """Run a script beside namespaces full of slow pages; return who was asked for."""

    async def live():
        names, told = Names(), []
        networks = ExternalNetworks.parse(["10.0.0.0/8"])
        reports = PodReports(told.append, by_their_addresses, networks=networks, resolve=names)
        running = asyncio.create_task(reports.run())
        for crowd in crowds:
            for number in range(each):
                ask(reports, f"n{number}", crowd)
        await asyncio.sleep(1)
        await script(reports)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        names.told = told
        return names

    return run(live())


def test_a_namespace_with_a_thousand_slow_pages_delays_nobody_elses():
    async def script(reports):
        ask(reports, "clip", "quiet")
        await asyncio.sleep(100)

    names = crowded(script, "crowd")

    first, second, *_ = names.when("clip.quiet")
    assert first - 1.0 < 0.1
    assert 10.0 <= second - first < 10.2
    assert names.most_out["crowd"] == OF_ONE_NAMESPACE


def test_many_crowded_namespaces_together_delay_a_page_by_one_slot_at_most():
    async def script(reports):
        ask(reports, "clip", "quiet")
        await asyncio.sleep(2 * SLOW_S)

    names = crowded(script, *(f"crowd{n}" for n in range(20)), each=100)

    assert names.when("clip.quiet")[0] - 1.0 <= SLOW_S
    assert names.most_out["all"] == AT_ONCE


def test_within_a_namespace_the_oldest_comes_first_and_everyones_turn_comes():
    async def script(_):
        await asyncio.sleep(SLOW_S * 1000 / OF_ONE_NAMESPACE + SLOW_S)

    names = crowded(script, "crowd")
    order = [host for _, host in names.asked]

    assert order[:1000] == [f"n{number}.crowd" for number in range(1000)]


def test_a_service_that_was_not_asked_yet_has_no_report():
    async def script(reports):
        assert reports.newest == {}

    assert crowded(script, "crowd").told == []


def test_a_page_that_is_no_longer_named_is_not_asked_when_its_turn_comes():
    async def script(reports):
        for number in range(1000):
            reports.ask(Key("service", "crowd", f"n{number}"), ())
        ask(reports, "late", "crowd")
        await asyncio.sleep(2 * SLOW_S)

    names = crowded(script, "crowd")

    assert {host for _, host in names.asked[OF_ONE_NAMESPACE:]} == {"late.crowd"}
