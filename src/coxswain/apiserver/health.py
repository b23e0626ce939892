"""``/healthz``, ``/livez`` and ``/readyz``: whether the server works, check by check.

GET /readyz                 ok, or 500 with the list of checks
GET /readyz?verbose         [+]ping ok ... readyz check passed
GET /readyz/etcd            one check
GET /readyz?exclude=etcd    all but that one
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Check = Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class HealthAnswer:
    """HTTP code and text."""

    code: int
    text: str


class Health:
    """The checks of one server; a check returns None or what is wrong."""

    def __init__(self) -> None:
        self._checks: dict[str, dict[str, Check]] = {"healthz": {}, "livez": {}, "readyz": {}}

    def add(
        self, name: str, check: Check, endpoints: tuple[str, ...] = ("healthz", "livez", "readyz")
    ) -> None:
        """Ask ``check`` at these endpoints."""
        for endpoint in endpoints:
            self._checks[endpoint][name] = check

    def paths(self) -> list[str]:
        """Every path that is answered."""
        return [
            path
            for endpoint, checks in self._checks.items()
            for path in (f"/{endpoint}", *(f"/{endpoint}/{name}" for name in sorted(checks)))
        ]

    def answer(self, path: str, query: Mapping[str, str]) -> HealthAnswer | None:
        """The answer for a path; None when it is not one of ours."""
        endpoint, _, name = path.strip("/").partition("/")
        checks = self._checks.get(endpoint)
        if checks is None:
            return None
        if name:
            check = checks.get(name)
            if check is None:
                return None
            problem = check()
            return (
                HealthAnswer(200, "ok")
                if problem is None
                else HealthAnswer(500, f"internal server error: {problem}\n")
            )
        return _all(endpoint, checks, query)


def _all(endpoint: str, checks: Mapping[str, Check], query: Mapping[str, str]) -> HealthAnswer:
    excluded = {name for name in (query.get("exclude") or "").split(",") if name}
    lines, failed = [], False
    for name, check in checks.items():
        if name in excluded:
            lines.append(f"[+]{name} excluded: ok")
            continue
        problem = check()
        failed = failed or problem is not None
        lines.append(f"[+]{name} ok" if problem is None else f"[-]{name} failed: reason withheld")
    if failed:
        return HealthAnswer(500, "\n".join([*lines, f"{endpoint} check failed\n"]))
    if "verbose" in query:
        return HealthAnswer(200, "\n".join([*lines, f"{endpoint} check passed\n"]))
    return HealthAnswer(200, "ok")
