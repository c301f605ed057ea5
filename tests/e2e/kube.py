"""kubectl and helm against the cluster under test."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from controlplane.programs import wait_until

_WITHIN_S = 180.0


class CommandFailed(RuntimeError):
    """kubectl or helm ended with an error; the message is what it wrote."""


@dataclass(frozen=True, slots=True)
class Kube:
    """A namespace of the cluster that KUBECONFIG names, and the programs to work on it."""

    namespace: str
    kubectl_program: str
    helm_program: str

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl in the namespace and return what it printed; raises CommandFailed."""
        return _run([self.kubectl_program, f"--namespace={self.namespace}", *arguments], stdin)

    def helm(self, *arguments: str) -> str:
        """Run helm in the namespace and return what it printed; raises CommandFailed."""
        return _run([self.helm_program, f"--namespace={self.namespace}", *arguments], None)

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return an object, or a list of them, as kubectl gives it."""
        return dict(json.loads(self.kubectl("get", *arguments, "--output=json")))

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        """Return the objects of a list."""
        return list(self.get(*arguments)["items"])

    def names(self, *arguments: str) -> set[str]:
        """Return the names of what is there, as kind/name."""
        return set(self.kubectl("get", *arguments, "--output=name").split())

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects as a user does."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(listed))

    def rolled_out(self, deployment: str) -> None:
        """Wait until a Deployment is as it was asked for; fails with the namespace's state."""
        self.wait("rollout", "status", f"deployment/{deployment}", f"--timeout={_WITHIN_S:g}s")

    def wait(self, *arguments: str) -> None:
        """Run a kubectl command that waits; fails with the namespace's state when it gives up."""
        try:
            self.kubectl(*arguments)
        except CommandFailed as failure:
            raise AssertionError(f"{failure}\n{self.state()}") from failure

    def until(self, holds: Callable[[], bool], what: str, within_s: float = _WITHIN_S) -> None:
        """Wait until a condition holds; fails with the state of the namespace when it does not."""
        try:
            wait_until(holds, within_s, what)
        except TimeoutError as late:
            raise AssertionError(f"{late}\n{self.state()}") from late

    def state(self) -> str:
        """Describe the namespace to whoever reads why a test failed."""
        said = [self._try("get", "lms,pods", "--output=wide"), self._try("get", "events")]
        for pod in self._try("get", "pods", "--output=name").split():
            tail = ("--all-containers", "--tail=12", "--prefix", "--ignore-errors")
            said.append(self._try("logs", pod, *tail))
        return "\n\n".join(said)

    def _try(self, *arguments: str) -> str:
        try:
            return self.kubectl(*arguments)
        except CommandFailed as failure:
            return str(failure)


def _run(command: list[str], stdin: str | None) -> str:
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=_WITHIN_S + 30,
        env=dict(os.environ),
    )
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(command)}\n{done.stderr.strip()}")
    return done.stdout
