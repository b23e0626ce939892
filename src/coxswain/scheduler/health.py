"""``/healthz``, ``/livez``, ``/readyz`` and ``/metrics`` of a scheduler, over HTTP or HTTPS.

healthz and livez: the process answers (and, as a leader, could renew its lease in time). readyz: the caches know
the cluster, or this process only stands by for the leader. Failing checks answer 500 with a line for each.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from coxswain.base import metrics
from coxswain.base.errors import ResourceUnavailable

if TYPE_CHECKING:
    from aiohttp import web

#: Name -> None when well, else what is wrong.
Checks = dict[str, Callable[[], str | None]]


class HealthServer:
    """Serves until closed."""

    def __init__(self, live: Checks, ready: Checks) -> None:
        self._checks = {"/healthz": live, "/livez": live, "/readyz": {**live, **ready}}
        self._runner: Any = None

    async def start(self, address: str, port: int, certificate: str = "", key: str = "") -> int:
        """Listen; the port. Raises ``ResourceUnavailable``."""
        from aiohttp import web

        app = web.Application()
        for path in self._checks:
            app.router.add_get(path, self._health)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        context = None
        if certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(certificate, key)
        try:
            await web.TCPSite(self._runner, address, port, ssl_context=context).start()
        except OSError as error:
            await self._runner.cleanup()
            raise ResourceUnavailable(f"the scheduler cannot listen on {address}:{port}: {error}") from error
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _health(self, request: web.Request) -> web.Response:
        from aiohttp import web

        lines, good = [], True
        for name, check in self._checks[request.path].items():
            wrong = check()
            lines.append(f"[-]{name} failed: {wrong}" if wrong else f"[+]{name} ok")
            good &= wrong is None
        if good and "verbose" not in request.query:
            return web.Response(text="ok")
        verdict = f"{request.path[1:]} check {'passed' if good else 'failed'}"
        return web.Response(status=200 if good else 500, text="\n".join([*lines, verdict, ""]))

    async def _metrics(self, request: web.Request) -> web.Response:
        from aiohttp import web

        return web.Response(
            body=metrics.exposition(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )
