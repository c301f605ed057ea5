"""Random lives of services under the operator on a real API server, and what always holds.

hypothesis draws one script per namespace; all of them are played side by side, round by round,
under one operator that is killed now and then, and each quiet point is waited for once for all.
More, or other ones, are tried with

    LUMEN_STATE_MACHINE_EXAMPLES=300 LUMEN_STATE_MACHINE_SEED=7 \
        pytest tests/cluster/test_operator_state_machine.py -s

which plays them in turns of LANES. A failure prints the steps of the one namespace it is about;
put into SCRIPTS_TO_REPLAY they are played alone.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from controlplane.cluster import unique_name
from controlplane.plane import ControlPlane
from controlplane.programs import wait_until
from hypothesis import HealthCheck, Phase, given, seed, settings
from lane_decisions import difference, is_due, undecided, would_change
from lane_invariants import broken
from lane_scripts import DEADLINE_S, Round, Script, scripts
from lane_sight import Listed, Seen, events_by_namespace
from lanes import Lane, told
from operator_lab import ACCOUNT, Operator, an_operator, grant, path_of
from ports import reserved_ports

from lumen_operator.children.desired import OperatorContext
from lumen_operator.observe.networks import ExternalNetworks

LANES = int(os.environ.get("LUMEN_STATE_MACHINE_LANES", "12"))
EXAMPLES = int(os.environ.get("LUMEN_STATE_MACHINE_EXAMPLES", str(LANES)))
SEED = int(os.environ.get("LUMEN_STATE_MACHINE_SEED", "36"))
SCRIPTS_TO_REPLAY: tuple[Script, ...] = ()

DISTURBANCES = ("none", "killed", "none", "away", "killed at once")
NETWORKS = ["198.18.0.0/15"]
LOOKED_WITHIN_S = 90.0
LEASE_LOST = 3
REACTED_AFTER = 1
"""Windows without a change after which all that came before has been reacted to."""
QUIET_AFTER = 3
"""Windows without a change after which nothing may have been written since then."""
PATIENT_WINDOWS = 12
"""A lane in which nothing happens for so long, and not all is well, stays so."""
WINDOWS_MAX = 80


@pytest.fixture(scope="module")
def fleet(private_control_plane, tmp_path_factory) -> Iterator["Fleet"]:
    folder = tmp_path_factory.mktemp("state-machine")
    home = unique_name("operator")
    private_control_plane.create_namespace(home)
    grant(private_control_plane, home, folder, everywhere=True)
    with reserved_ports(2) as ports:
        operator = an_operator(
            folder,
            ports,
            KUBECONFIG=str(private_control_plane.kubeconfig_for(home, ACCOUNT)),
            LUMEN_OPERATOR_NAMESPACE=home,
            LUMEN_DEFAULT_POOLS="[]",
            LUMEN_LOG_FORMAT="console",
            LUMEN_RESYNC_S="1",
            LUMEN_EXTERNAL_NETWORKS=json.dumps(NETWORKS),
        )
        operator.start()
        operator.wait_until_leading()
        context = OperatorContext(
            operator_namespace=home, external_networks=ExternalNetworks.parse(NETWORKS)
        )
        yield Fleet(private_control_plane, operator, context)
        operator.stop()


class Fleet:
    """Many lanes under one operator."""

    def __init__(self, plane: ControlPlane, operator: Operator, context: OperatorContext) -> None:
        self.plane = plane
        self.operator = operator
        self.context = context
        self.reached: Counter[str] = Counter()

    def play(self, scripts: Sequence[Script], chance: Random) -> list[str]:
        """Play scripts side by side; return what was wrong, empty when nothing was."""
        lanes = {Lane(self.plane): script for script in scripts}
        wrong: list[str] = []
        for number in range(min(len(script) for script in scripts)):
            disturbance = chance.choice(DISTURBANCES)
            self._act({lane: script[number] for lane, script in lanes.items()}, disturbance)
            for lane, said in self._quiet(lanes).items():
                done = lanes.pop(lane)[: number + 1]
                where = f"round {number + 1} ({disturbance}) of {lane.namespace}"
                wrong.append("\n".join((where, *said, "after", told(done))))
        for lane in lanes:
            self.plane.delete(f"/api/v1/namespaces/{lane.namespace}")
        return wrong

    def _act(self, rounds: dict[Lane, Round], disturbance: str) -> None:
        if disturbance == "away":
            self.operator.stop()
        if disturbance == "killed at once":
            self.operator.kill()
            self.operator.start()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda each: _take(*each), rounds.items()))
        if disturbance == "killed":
            self.operator.kill()
        if not self.operator.process.running:
            self.operator.start()
        self.operator.wait_until_leading()

    def _quiet(self, lanes: Iterable[Lane]) -> dict[Lane, list[str]]:
        """Wait until every lane has been quiet; return what is wrong in which."""
        watched = {lane: Watched() for lane in lanes}
        verdicts: dict[Lane, list[str]] = {}
        for _ in range(WINDOWS_MAX):
            self._everything_looked_at()
            found, events = Listed(self.plane), events_by_namespace(self.plane)
            for lane in [each for each in watched if each not in verdicts]:
                said = events.get(lane.namespace, {})
                seen = Seen(self.plane, lane, self.context, found, said)
                verdict = watched[lane].look(seen)
                if verdict is not None:
                    verdicts[lane] = verdict + lane.lost_notes()
                    self.reached.update(seen.reasons())
            if len(verdicts) == len(watched):
                break
        late = {lane: ["never quiet", *watched[lane].problems] for lane in watched}
        return {lane: said for lane in watched if (said := verdicts.get(lane, late[lane]))}

    def _everything_looked_at(self) -> None:
        """Return once the operator has looked at everything again: this makes one window."""
        kinds = ("lumenmodelservices", "lumennodepools")
        keys = sum(len(self.plane.get(path_of(kind))["items"]) for kind in kinds)
        process = self.operator.process
        while True:
            wanted = self.operator.reconciles() + keys
            wait_until(
                lambda wanted=wanted: not process.running or self.operator.reconciles() >= wanted,
                LOOKED_WITHIN_S,
                "all is looked at",
            )
            if process.running:
                return
            # A machine that stands still for longer than the Lease lasts: what the kubelet does.
            assert process.exit_code == LEASE_LOST, process.log_tail()
            self.operator.start()
            self.operator.wait_until_leading()


class Watched:
    """One lane from its last step until it has been quiet."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._surroundings: dict[str, str] = {}
        self._written: dict[str, str] = {}
        self._quiet_for = 0

    def look(self, seen: Seen) -> list[str] | None:
        """Look once a window; return the verdict, None while there is none."""
        surroundings, written = seen.surroundings(), seen.written()
        still = surroundings == self._surroundings and not is_due(seen, DEADLINE_S)
        self._quiet_for = self._quiet_for + 1 if still else 0
        self._surroundings = surroundings
        if self._quiet_for <= REACTED_AFTER:
            self._written = written
        self.problems = [*undecided(seen), *broken(seen)]
        if self._quiet_for < QUIET_AFTER:
            return None
        if rewritten := difference(self._written, written):
            return [f"written though nothing changed: {rewritten}", *self.problems]
        if self.problems:
            return self.problems if self._quiet_for >= PATIENT_WINDOWS else None
        return would_change(seen)


def _take(lane: Lane, each: Round) -> None:
    for step in each.steps:
        lane.take(step)


def drawn(examples: int) -> list[Script]:
    """Draw scripts; the same seed draws the same ones."""
    found: list[Script] = []

    @seed(SEED)
    @settings(
        max_examples=examples,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(scripts())
    def draw(script: Script) -> None:
        found.append(script)

    draw()
    return found


@pytest.mark.timeout(600 + 60 * EXAMPLES, func_only=True)
def test_whatever_happens_the_status_is_true_and_the_children_are_as_rendered(fleet):
    print(f"LUMEN_STATE_MACHINE_SEED={SEED} LUMEN_STATE_MACHINE_EXAMPLES={EXAMPLES}")
    waiting = list(SCRIPTS_TO_REPLAY) or drawn(EXAMPLES)
    chance = Random(SEED)
    wrong: list[str] = []
    while waiting:
        turn, waiting = waiting[:LANES], waiting[LANES:]
        wrong += fleet.play(turn, chance)

    print("reached at quiet points:", *(f"{k} {n}" for k, n in sorted(fleet.reached.items())))
    assert not wrong, "\n\n".join(wrong)
    assert fleet.reached["Ready=Ready"], "no service was ever Ready: nothing was tried"
    assert fleet.operator.total("writes_in_vain") == 0
