"""The kubelet's HTTP server: pods, logs, health, figures.

    /healthz  /pods  /spec  /stats/summary  /metrics
    /containerLogs/NAMESPACE/POD/CONTAINER?follow&tailLines&sinceSeconds&sinceTime&previous&timestamps&limitBytes

With certificates configured it speaks TLS and, except for /healthz, asks for a client certificate that the
configured CA signed. Without them it listens on loopback only. exec, attach and port-forward are answered
with 501.
"""

from __future__ import annotations

import ipaddress
import ssl
from typing import TYPE_CHECKING, Any

import orjson

from coxswain.base import clock, metrics
from coxswain.base.errors import ConfigurationError, ResourceUnavailable
from coxswain.kubelet import logs
from coxswain.kubelet.runtime.interface import Container, ContainerState

if TYPE_CHECKING:
    from aiohttp import web

    from coxswain.kubelet.agent import Agent


class KubeletServer:
    """Serves one agent."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._settings = agent.config.server
        self._runner: Any = None
        self._closed: Any = None

    async def start(self) -> int:
        """Listen; the port. Raises ``ResourceUnavailable`` when it is taken."""
        import asyncio

        from aiohttp import web

        settings = self._settings
        context = self._tls()
        if context is None and not ipaddress.ip_address(settings.address).is_loopback:
            raise ConfigurationError("the kubelet's server needs a certificate to listen beyond loopback")
        app = web.Application(middlewares=[self._authenticate(web)])
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/pods", self._pods)
        app.router.add_get("/spec", self._spec)
        app.router.add_get("/spec/", self._spec)
        app.router.add_get("/stats/summary", self._summary)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        for verb in ("exec", "attach", "portForward", "run"):
            app.router.add_route("*", f"/{verb}/{{rest:.*}}", self._not_yet)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, settings.address, settings.port, ssl_context=context)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise ResourceUnavailable(
                f"the kubelet cannot listen on {settings.address}:{settings.port}: {error}"
            ) from error
        self._closed = asyncio.Event()
        return int(self._runner.addresses[0][1])

    async def wait(self) -> None:
        """Until cancelled; then close."""
        try:
            await self._closed.wait()
        finally:
            await self._runner.cleanup()

    def _tls(self) -> ssl.SSLContext | None:
        settings = self._settings
        if not settings.certificate_file:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(settings.certificate_file, settings.key_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.client_ca_file:
            context.load_verify_locations(settings.client_ca_file)
            context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def _authenticate(self, web: Any) -> Any:
        """Everything but /healthz needs a certificate where the server has TLS."""
        needed = bool(self._settings.certificate_file)

        @web.middleware  # type: ignore[untyped-decorator]
        async def authenticate(request: web.Request, handler: Any) -> Any:
            if needed and request.path != "/healthz":
                transport = request.transport
                if transport is None or not transport.get_extra_info("peercert"):
                    return web.Response(status=401, text="Unauthorized")
            return await handler(request)

        return authenticate

    # ---- handlers

    async def _healthz(self, request: web.Request) -> web.Response:
        from aiohttp import web

        return web.Response(text="ok")

    async def _pods(self, request: web.Request) -> web.Response:
        return _json(
            {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": list(self._agent.pods())}
        )

    async def _spec(self, request: web.Request) -> web.Response:
        capacity = self._agent.capacity
        memory = int(capacity["memory"].removesuffix("Ki")) * 1024
        return _json({"num_cores": int(capacity["cpu"]), "memory_capacity": memory})

    async def _summary(self, request: web.Request) -> web.Response:
        pods = [
            {
                "podRef": {key: pod["metadata"].get(key) for key in ("name", "namespace", "uid")},
                "startTime": (pod.get("status") or {}).get("startTime"),
                "containers": [{"name": box["name"]} for box in pod["spec"]["containers"]],
            }
            for pod in self._agent.pods()
        ]
        return _json({"node": {"nodeName": self._agent.node_name}, "pods": pods})

    async def _metrics(self, request: web.Request) -> web.Response:
        from aiohttp import web

        return web.Response(body=metrics.exposition(), content_type="text/plain")

    async def _not_yet(self, request: web.Request) -> web.Response:
        from aiohttp import web

        verb = request.path.split("/")[1]
        return web.Response(status=501, text=f"{verb} is not implemented by this kubelet")

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        where = request.match_info
        loop = next(
            (
                loop
                for loop in self._agent.loops.values()
                if loop.worker.pod["metadata"]["name"] == where["pod"]
                and loop.worker.pod["metadata"]["namespace"] == where["namespace"]
            ),
            None,
        )
        if loop is None:
            return web.Response(status=404, text=f'pod "{where["pod"]}" not found')
        name = where["container"]
        if loop.worker.spec_of(name) is None:
            text = f'container "{name}" not found in pod "{where["pod"]}"'
            return web.Response(status=404, text=text)
        view = await self._agent.view(loop.uid, {})
        previous = _flag(request.query.get("previous"))
        box = view.previous(name) if previous else view.find(name)
        pod = f"{where['pod']}"
        if box is None:
            word = "previous terminated" if previous else "waiting to start:"
            why = f'{word} container "{name}" in pod "{pod}" not found'
            if not previous:
                waiting = _waiting_reason(loop.worker.pod, name)
                why = f'container "{name}" in pod "{pod}" is waiting to start: {waiting}'
            return web.Response(status=400, text=why)
        try:
            options = _options(request.query)
        except ValueError as error:
            return web.Response(status=400, text=str(error))
        return await self._stream(request, box, options)

    async def _stream(
        self, request: web.Request, box: Container, options: logs.LogOptions
    ) -> web.StreamResponse:
        from aiohttp import web

        async def running() -> bool:
            boxes = await self._agent.runtime.containers(box.labels.get("io.kubernetes.pod.uid", ""))
            return any(b.id == box.id and b.state is ContainerState.RUNNING for b in boxes)

        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        try:
            async for piece in logs.read(box.log_path, options, running):
                await response.write(piece)
            await response.write_eof()
        except ConnectionResetError:
            pass
        return response


def _json(value: object) -> web.Response:
    from aiohttp import web

    return web.Response(body=orjson.dumps(value), content_type="application/json")


def _flag(text: str | None) -> bool:
    return text in ("true", "1", "")


def _options(query: Any) -> logs.LogOptions:
    """The query's log options. Raises ``ValueError``."""
    since = None
    if query.get("sinceSeconds"):
        since = clock.now() - int(query["sinceSeconds"])
    elif query.get("sinceTime"):
        since = clock.parse_time(query["sinceTime"])
    return logs.LogOptions(
        follow=_flag(query.get("follow")),
        tail_lines=int(query["tailLines"]) if query.get("tailLines") else None,
        since=since,
        timestamps=_flag(query.get("timestamps")),
        limit_bytes=int(query["limitBytes"]) if query.get("limitBytes") else None,
        stream={"Stdout": "stdout", "Stderr": "stderr"}.get(query.get("stream") or "", ""),
    )


def _waiting_reason(pod: dict[str, Any], name: str) -> str:
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if status["name"] == name and "waiting" in status["state"]:
            return str(status["state"]["waiting"].get("reason", "ContainerCreating"))
    return "ContainerCreating"
