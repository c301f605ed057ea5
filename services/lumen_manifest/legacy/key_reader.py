"""Read a mapping key by key, and know in the end which keys nobody asked for."""

from typing import Any

from lumen_manifest.reading.wording import shown
from lumen_manifest.reading.yaml_tree import path_text
from lumen_manifest.server_config import ConfigError


class KeyReader:
    """A mapping of an older configuration; `warnings` is shared by all its sections."""

    def __init__(self, values: dict[str, Any], file: str, path: str, warnings: list[str]) -> None:
        self.file = file
        self._values = values
        self._path = path
        self._warnings = warnings
        self._sections: dict[str, KeyReader] = {}
        self._read: set[str] = set()

    def names(self) -> list[str]:
        """List the keys."""
        return list(self._values)

    def place(self, key: str) -> str:
        """Name a key for a message."""
        return f"{self.file}: {self._below(key)}"

    def section(self, key: str) -> "KeyReader":
        """Give the mapping at a key; an absent one is empty."""
        if key not in self._sections:
            value = self._take(key)
            if value is not None and not isinstance(value, dict):
                raise ConfigError(f"{self.place(key)}: {shown(value)} is not a mapping")
            self._sections[key] = KeyReader(
                value or {}, self.file, self._below(key), self._warnings
            )
        return self._sections[key]

    def text(self, key: str) -> str:
        """Give a scalar as text; an absent one is empty."""
        value = self._take(key)
        if isinstance(value, dict | list):
            raise ConfigError(f"{self.place(key)}: {shown(value)} stands where text is needed")
        if isinstance(value, bool):
            return str(value).lower()
        return "" if value is None else str(value).strip()

    def texts(self, key: str) -> tuple[str, ...]:
        """Give a list of texts, written as a list or with commas."""
        value = self._take(key)
        if isinstance(value, list):
            return tuple(str(item).strip() for item in value if not isinstance(item, dict | list))
        return tuple(part.strip() for part in self.text(key).split(",") if part.strip())

    def number(self, key: str) -> int | None:
        """Give a whole number, written as such or as text; None when absent."""
        text = self.text(key)
        if not text:
            return None
        if not text.isascii() or not text.isdigit():
            raise ConfigError(
                f"{self.place(key)}: {shown(text)} is not a whole number: write digits alone"
            )
        if len(text) > 9:
            raise ConfigError(f"{self.place(key)}: {shown(text)} is too large a number")
        return int(text)

    def positive(self, key: str) -> int | None:
        """Give a whole number of at least 1; None when absent."""
        number = self.number(key)
        if number == 0:
            raise ConfigError(
                f"{self.place(key)}: 0 is too small: at least 1, or leave it out for the default"
            )
        return number

    def count(self, key: str) -> int | None:
        """Give a number of threads; 0 means the library's own choice, as does absence."""
        number = self.number(key) or None
        if number is not None and number > 1024:
            raise ConfigError(f"{self.place(key)}: {number} is too large: at most 1024")
        return number

    def flag(self, key: str, default: bool) -> bool:
        """Give a truth value."""
        text = self.text(key).lower()
        if text in {"", "true", "1", "yes", "on", "y"}:
            return default if not text else True
        if text in {"false", "0", "no", "off", "n"}:
            return False
        raise ConfigError(f"{self.place(key)}: {shown(text)} is neither true nor false")

    def ignore(self, *keys: str) -> None:
        """Accept keys that had a meaning once and need none now."""
        self._read.update(keys)

    def warn(self, *warnings: str) -> None:
        """Add warnings."""
        self._warnings += warnings

    def warn_unread(self) -> None:
        """Name the keys that nobody asked for."""
        for key in self._values:
            if key not in self._read:
                self._warnings.append(f"{self.place(key)} has no meaning here and is ignored")

    def _take(self, key: str) -> Any:
        self._read.add(key)
        return self._values.get(key)

    def _below(self, key: str) -> str:
        return f"{self._path}.{path_text((key,))}" if self._path else path_text((key,))
