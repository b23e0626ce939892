"""Probes: when to ask a container how it is, what to make of the answers, and the asking.

    ProbeState (pure)   counts successes and failures against the thresholds -> passed / failed / unknown
    Prober (async)      one task for each (container, kind); exec, httpGet, tcpSocket, grpc

Kubernetes' rules: liveness and startup start as unknown (nothing is killed yet), readiness as failed; liveness
and readiness wait until the startup probe has passed; a startup probe stops once passed; after a failed
liveness or startup probe the container is to be restarted and the probe holds still.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from coxswain.api.names import Object
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.kubelet.runtime.interface import Container, Runtime, RuntimeFailure

log = logging.getLogger(__name__)

KINDS = ("startup", "liveness", "readiness")
#: Bytes of an answer that are shown in an event, as kubelet shows them.
_SHOWN = 10 * 1024


@dataclass(slots=True)
class ProbeState:
    """The verdict of one probe; thresholds are consecutive answers."""

    kind: str
    success_threshold: int = 1
    failure_threshold: int = 3
    verdict: bool | None = None
    run: int = 0
    last: bool | None = None

    def observe(self, passed: bool) -> bool:
        """Count an answer; whether the verdict changed."""
        self.run = self.run + 1 if passed == self.last else 1
        self.last = passed
        threshold = self.success_threshold if passed else self.failure_threshold
        if self.run < threshold or self.verdict == passed:
            return False
        self.verdict = passed
        return True


def probe_of(container: Object, kind: str) -> Object | None:
    """``livenessProbe`` and so on."""
    return container.get(f"{kind}Probe")


def port_number(container: Object, port: int | str) -> int:
    """A port by number or by its name in the container. Raises ``ValueError``."""
    if isinstance(port, int):
        return port
    for entry in container.get("ports") or ():
        if entry.get("name") == port:
            return int(entry["containerPort"])
    try:
        return int(port)
    except ValueError:
        raise ValueError(f"couldn't find port: {port}") from None


class Prober:
    """Runs the probes of one pod's containers; verdicts are in ``results`` by (container id, kind).

    ``on_change`` is called after each change of a verdict; ``on_failure(container spec, kind, output)`` after
    each failed answer.
    """

    def __init__(
        self, runtime: Runtime, on_change: Callable[[], None], on_failure: Callable[[Object, str, str], None]
    ) -> None:
        self.results: dict[tuple[str, str], bool] = {}
        self._runtime = runtime
        self._on_change = on_change
        self._on_failure = on_failure
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._started: dict[str, asyncio.Event] = {}

    def watch(self, spec: Object, container: Container, ip: str) -> None:
        """Probe a running container (again: nothing happens)."""
        for kind in KINDS:
            probe = probe_of(spec, kind)
            key = (container.id, kind)
            if probe is None or key in self._tasks:
                continue
            if kind == "readiness":
                self.results.setdefault(key, False)
            work = self._probe(spec, container, kind, probe, ip)
            self._tasks[key] = asyncio.get_running_loop().create_task(
                work, name=f"probe {spec['name']} {kind}"
            )

    def keep(self, running: set[str]) -> None:
        """Stop probing containers that are not among ``running`` (ids)."""
        for key in [key for key in self._tasks if key[0] not in running]:
            self._tasks.pop(key).cancel()
            self.results.pop(key, None)
            self._started.pop(key[0], None)

    def stop_kinds(self, *kinds: str) -> None:
        """Stop these kinds everywhere: a terminating pod is asked for readiness only."""
        for key in [key for key in self._tasks if key[1] in kinds]:
            self._tasks.pop(key).cancel()

    async def close(self) -> None:
        """Stop all."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            await cancel_and_wait(task)

    async def _probe(self, spec: Object, container: Container, kind: str, probe: Object, ip: str) -> None:
        started = self._started.setdefault(container.id, asyncio.Event())
        if kind != "startup" and spec.get("startupProbe"):
            await started.wait()
        period = float(probe.get("periodSeconds") or 10)
        initial = container.started_at + float(probe.get("initialDelaySeconds") or 0) - clock.now()
        if initial > 0:
            await clock.sleep(initial)
        state = ProbeState(
            kind, int(probe.get("successThreshold") or 1), int(probe.get("failureThreshold") or 3)
        )
        if kind == "readiness":
            state.verdict = False
        while True:
            began = clock.monotonic()
            passed, output = await self._ask(spec, container, probe, ip)
            if not passed:
                self._on_failure(spec, kind, output)
            if state.observe(passed) and state.verdict is not None:
                self.results[container.id, kind] = state.verdict
                self._on_change()
                if kind == "startup" and passed:
                    started.set()
                    return
                if kind != "readiness" and not passed:
                    return
            # A pod that is not ready yet is asked sooner, so that it does not wait a whole period.
            pause = period if kind != "readiness" or passed else min(period, 1.0)
            await clock.sleep(max(0.05, began + pause - clock.monotonic()))

    async def _ask(self, spec: Object, container: Container, probe: Object, ip: str) -> tuple[bool, str]:
        timeout = float(probe.get("timeoutSeconds") or 1)
        try:
            if (action := probe.get("exec")) is not None:
                return await self._exec(container, action.get("command") or [], timeout)
            async with asyncio.timeout(timeout):
                if (action := probe.get("httpGet")) is not None:
                    return await http_probe(spec, action, ip)
                if (action := probe.get("tcpSocket")) is not None:
                    return await tcp_probe(action.get("host") or ip, port_number(spec, action["port"]))
                if (action := probe.get("grpc")) is not None:
                    return await grpc_probe(f"{ip}:{action['port']}", action.get("service") or "")
        except TimeoutError:
            return False, f"command timed out: probe timed out after {timeout:g}s"
        except (OSError, ValueError, RuntimeFailure) as error:
            return False, str(error)
        return False, "missing probe handler"

    async def _exec(self, container: Container, command: list[str], timeout: float) -> tuple[bool, str]:
        result = await self._runtime.exec(container.id, command, timeout)
        output = (result.stdout + result.stderr)[:_SHOWN].decode(errors="replace")
        return result.exit_code == 0, output


async def tcp_probe(host: str, port: int) -> tuple[bool, str]:
    """Whether somebody accepts a connection."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return False, f"dial tcp {host}:{port}: connect: {error.strerror or error}"
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True, ""


async def http_probe(spec: Object, action: Object, ip: str) -> tuple[bool, str]:
    """GET it: 200 to 399 passes. Certificates are not verified, redirects not followed."""
    import ssl

    host = action.get("host") or ip
    port = port_number(spec, action["port"])
    scheme = (action.get("scheme") or "HTTP").lower()
    path = action.get("path") or "/"
    path = path if path.startswith("/") else f"/{path}"
    context = None
    if scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    headers = {
        "Host": f"{host}:{port}",
        "User-Agent": "kube-probe/1.36",
        "Accept": "*/*",
        "Connection": "close",
    }
    for header in action.get("httpHeaders") or ():
        headers[header["name"]] = header.get("value") or ""
    if any("\r" in text or "\n" in text for text in (path, *headers, *headers.values())):
        return False, "probe path or headers hold a line break"
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=context)
    except OSError as error:
        why = f"dial tcp {host}:{port}: connect: {(error.strerror or str(error)).lower()}"
        return False, f'Get "{scheme}://{host}:{port}{path}": {why}'
    try:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        parts = (await reader.readline()).split(None, 2)
        code = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0
    finally:
        writer.close()
    if 200 <= code < 400:
        return True, ""
    return False, f"HTTP probe failed with statuscode: {code}"


async def grpc_probe(target: str, service: str) -> tuple[bool, str]:
    """grpc.health.v1.Health/Check; the two messages are small enough to be written by hand."""
    import grpc.aio

    name = service.encode()
    request = b"\x0a" + bytes([len(name)]) + name if name else b""
    if len(name) > 127:
        return False, "service name is too long"
    async with grpc.aio.insecure_channel(target) as channel:
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            answer = await check(request)
        except grpc.aio.AioRpcError as error:
            return False, f"service unhealthy: {error.details()}"
    passed = answer == b"\x08\x01"
    return passed, "" if passed else "service unhealthy (responded with NOT_SERVING)"
