"""Variables of the environment: read once at a process's start, refused by name with what to do.

Not pydantic-settings: a model server opens its port before pydantic is loaded, and one reader for
every process is worth more than another library's for some.
"""

from collections.abc import Mapping
from math import inf, isfinite
from pathlib import Path


class SettingsError(ValueError):
    """Whoever starts the process gave a value that cannot be used; it says what to do."""


class Environment:
    """The environment of a process; an empty variable is one that is not set."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str, default: str = "") -> str:
        """Return a variable as it stands."""
        return self._variables.get(name) or default

    def required(self, name: str, remedy: str = "set it") -> str:
        """Return a variable that has no default."""
        if not self.text(name):
            raise SettingsError(f"{name} is not set: {remedy}")
        return self.text(name)

    def path(self, name: str, default: str) -> Path:
        """Return a path."""
        return Path(self.text(name, default))

    def number(self, name: str, default: float, least: float = 0, most: float = inf) -> float:
        """Return a finite number within bounds."""
        return self._number("a number", name, default, least, most)

    def whole(self, name: str, default: int, least: int = 0, most: float = inf) -> int:
        """Return a whole number within bounds; `5e8` is one too, as Helm writes it."""
        return int(self._number("a whole number", name, default, least, most))

    def port(self, name: str, default: int) -> int:
        """Return a port; 0 asks for any that is free."""
        return int(self._number("a port", name, default, 0, 65535))

    def _number(self, kind: str, name: str, default: float, *bounds: float) -> float:
        least, most = bounds
        text = self.text(name)
        try:
            number = float(text) if text else default
        except ValueError:
            number = inf
        whole = kind == "a number" or number % 1 == 0
        if isfinite(number) and least <= number <= most and whole:
            return number
        allowed = f"at least {least:g}" if most == inf else f"{least:g} to {most:g}"
        raise SettingsError(f"{name} is {text!r}: give {kind}, {allowed}")
