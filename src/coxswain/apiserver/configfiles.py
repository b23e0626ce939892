"""Files of configuration that flags name: YAML or JSON, read once; complaints name the flag, the file and the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coxswain.api.names import Object
from coxswain.base.errors import ConfigurationError


def read(path: Path, flag: str = "") -> Any:
    """The document in a file. Raises ``ConfigurationError``, which begins with ``flag``."""
    from coxswain.api import yamlio

    source = f"{flag} {path}".lstrip()
    try:
        return yamlio.loads(path.read_bytes())[0]
    except OSError as error:
        raise ConfigurationError(f"{source}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{source}: {error}") from None


class Reader:
    """Base of what turns a document of ``flag`` into settings, strictly: an unknown field is a complaint."""

    def __init__(self, flag: str, path: Path) -> None:
        self._source = f"{flag} {path}"

    def _fail(self, field: str, why: str) -> ConfigurationError:
        return ConfigurationError(f"{self._source}: {field}: {why}")

    def _typed(self, value: Any, kind: str, versions: tuple[str, ...], names: tuple[str, ...]) -> Object:
        """The document itself: an object of the kind, in one of ``versions``, with fields of these names."""
        if not isinstance(value, dict) or value.get("kind") != kind:
            raise self._fail("kind", f"has to be {kind}")
        if value.get("apiVersion") not in versions:
            raise self._fail("apiVersion", f"has to be {versions[0]}")
        return self._known(value, "", ("apiVersion", "kind", *names))

    def _map(self, value: Any, field: str) -> Object:
        if not isinstance(value, dict):
            raise self._fail(field, "has to be an object")
        return value

    def _known(self, value: Any, field: str, names: tuple[str, ...]) -> Object:
        """An object with fields of these names only."""
        found = self._map(value, field)
        for name in found:
            if name not in names:
                raise self._fail(f"{field}.{name}".lstrip("."), "unknown field")
        return found
