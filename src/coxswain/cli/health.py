"""``/healthz``, ``/livez``, ``/readyz`` and ``/metrics`` of a component, over HTTP or HTTPS.

healthz and livez answer what the component calls live, readyz that and what it calls ready. Failing checks answer
500 with a line for each, ``?verbose`` always does; ``?exclude=NAME`` leaves a check out, ``/healthz/NAME`` asks for
one alone, as with Kubernetes' components.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from coxswain.base import metrics
from coxswain.base.errors import ConfigurationError, ResourceUnavailable

if TYPE_CHECKING:
    from aiohttp import web

#: Name -> None when well, else what is wrong.
Checks = Mapping[str, Callable[[], str | None]]


class HealthServer:
    """Serves until closed; ``live`` is read anew for every answer, so checks may come and go."""

    def __init__(self, live: Checks, ready: Checks) -> None:
        self._live, self._ready = live, ready
        self._runner: Any = None

    async def start(self, address: str, port: int, certificate: str = "", key: str = "") -> int:
        """Listen; the port. Raises ``ResourceUnavailable``, and ``ConfigurationError`` for unusable files."""
        from aiohttp import web

        app = web.Application()
        for path in ("healthz", "livez", "readyz"):
            app.router.add_get(f"/{{path:{path}}}", self._health)
            app.router.add_get(f"/{{path:{path}}}/{{check}}", self._health)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        context = None
        if certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            try:
                context.load_cert_chain(certificate, key or None)
            except OSError as error:  # which does not say of which file
                files = f"{certificate} and {key}" if key else certificate
                raise ConfigurationError(
                    f"cannot serve TLS with {files}: {error.strerror or error}"
                ) from None
        try:
            await web.TCPSite(self._runner, address, port, ssl_context=context).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ResourceUnavailable(f"cannot listen on {address}:{port}: {error}") from error
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def _checks_for(self, request: web.Request) -> Checks | None:
        path, alone = request.match_info["path"], request.match_info.get("check")
        checks = {**self._live, **self._ready} if path == "readyz" else self._live
        if alone is not None:
            return {alone: checks[alone]} if alone in checks else None
        excluded = request.query.getall("exclude", ())
        return {name: check for name, check in checks.items() if name not in excluded}

    async def _health(self, request: web.Request) -> web.Response:
        from aiohttp import web

        checks = self._checks_for(request)
        if checks is None:
            return web.Response(status=404, text="404 page not found\n")
        lines, good = [], True
        for name, check in checks.items():
            wrong = check()
            lines.append(f"[-]{name} failed: {wrong}" if wrong else f"[+]{name} ok")
            good &= wrong is None
        if good and "verbose" not in request.query:
            return web.Response(text="ok")
        verdict = f"{request.match_info['path']} check {'passed' if good else 'failed'}"
        return web.Response(status=200 if good else 500, text="\n".join([*lines, verdict, ""]))

    async def _metrics(self, request: web.Request) -> web.Response:
        from aiohttp import web

        return web.Response(
            body=metrics.exposition(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )
