"""Fairness at the HTTPS door: who is let in, who waits, who is sent away, and what is said of it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from coxswain.api.names import GVR
from coxswain.apiserver.fairness.controller import Fairness, Flow
from coxswain.apiserver.fairness.inflight import InFlightLimits
from coxswain.apiserver.fairness.settings import FairnessSettings
from coxswain.apiserver.fairness.width import NARROW, Estimator, Width
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, LimitSettings, ServingSettings, StorageSettings
from coxswain.client.interface import UserInfo

ADMIN = {"Authorization": "Bearer T"}
JANE = {"Authorization": "Bearer J"}
NODE = UserInfo("system:node:n1", ("system:nodes", "system:authenticated"))
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PODS = GVR("", "v1", "pods")
LEASES = GVR("coordination.k8s.io", "v1", "leases")


@contextlib.asynccontextmanager
async def _serving(directory: Path, **options: Any) -> AsyncIterator[tuple[ApiServer, aiohttp.ClientSession]]:
    directory.joinpath("tokens.csv").write_text(
        'T,admin,1,"system:masters"\nJ,jane,2,"system:authenticated"\n'
    )
    serving = ServingSettings(port=0, shutdown_grace=0.5, **options.pop("serving", {}))
    server = ApiServer(
        ApiServerConfig(
            data_dir=directory / "data",
            token_auth_file=directory / "tokens.csv",
            serving=serving,
            storage=StorageSettings(backend="memory"),
            **options,
        )
    )
    await server.start()
    assert server.pki is not None
    tls = ssl.create_default_context(cadata=server.pki.ca.certificate.decode())
    try:
        connector = aiohttp.TCPConnector(ssl=tls, limit=0)
        async with aiohttp.ClientSession(server.url, connector=connector, auto_decompress=False) as client:
            await _allow_jane(client)
            yield server, client
        await asyncio.sleep(0)
    finally:
        await server.stop()


async def _allow_jane(client: aiohttp.ClientSession) -> None:
    binding = {
        "metadata": {"name": "jane"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}],
    }
    path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    async with client.post(path, json=binding, headers=ADMIN) as made:
        assert made.status == 201


def _gate(server: ApiServer) -> Fairness:
    gate = server._rest._gate  # type: ignore[union-attr]
    assert isinstance(gate, Fairness)
    return gate


async def test_requests_find_the_flow_schemas_of_a_new_cluster(tmp_path: Path) -> None:
    async with _serving(tmp_path) as (server, client):
        gate = _gate(server)
        account = UserInfo("system:serviceaccount:kube-system:dns", ("system:serviceaccounts",))
        manager = UserInfo("system:kube-controller-manager", ("system:authenticated",))
        for user, verb, gvr, namespace, schema in (
            (UserInfo("a", ("system:masters",)), "get", PODS, "default", "exempt"),
            (NODE, "update", LEASES, "kube-node-lease", "system-node-high"),
            (NODE, "get", PODS, "default", "system-nodes"),
            (manager, "update", LEASES, "kube-system", "system-leader-election"),
            (manager, "list", PODS, "", "kube-controller-manager"),
            (account, "list", PODS, "", "kube-system-service-accounts"),
            (UserInfo("jane", ("system:authenticated",)), "list", PODS, "", "global-default"),
            (UserInfo("nobody"), "list", PODS, "", "catch-all"),
        ):
            flow = gate.flow(user, verb, gvr, "", namespace)
            assert flow.schema == schema
            assert gate.flow(user, verb, gvr, "", namespace) is flow
        assert (
            gate.flow(UserInfo("x", ("system:unauthenticated",)), "get", path="/healthz").schema == "probes"
        )
        async with client.get(CONFIGMAPS, headers=ADMIN) as got:
            uid = got.headers["X-Kubernetes-PF-FlowSchema-UID"]
        path = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/exempt"
        async with client.get(path, headers=ADMIN) as got:
            assert (await got.json())["metadata"]["uid"] == uid
        async with client.delete(path, headers=ADMIN) as gone:
            assert gone.status == 200
        async with client.get(CONFIGMAPS, headers=ADMIN) as got:
            assert got.status == 200
        assert gate.flow(UserInfo("a", ("system:masters",)), "get", PODS).level.exempt


def _occupy(flow: Flow, seats: int) -> Any:
    return flow.admit(Width(seats), asyncio.get_running_loop().time(), lambda: None, lambda: None)


def _jane(gate: Fairness) -> Flow:
    groups = ("system:authenticated",)
    return gate.flow(UserInfo("jane", groups, "2"), "list", GVR("", "v1", "configmaps"), "", "default")


async def test_who_finds_no_seat_waits_and_who_finds_no_queue_is_sent_away(tmp_path: Path) -> None:
    async with _serving(tmp_path) as (server, client):
        gate = _gate(server)
        flow = _jane(gate)
        ticket = _occupy(flow, flow.level.queues.seats)
        listing = [asyncio.ensure_future(_status(client, CONFIGMAPS, JANE)) for _ in range(3)]
        await _until(lambda: flow.level.queues.waiting == 3)
        assert flow.saturated
        # Others are served meanwhile: another level, an exempt user, and whoever asks how the server is.
        assert await _status(client, CONFIGMAPS, ADMIN) == 200
        assert await _status(client, "/healthz", {}) == 200
        flow.level.length = flow.level.queues.length = 0
        async with client.get(CONFIGMAPS, headers=JANE) as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
            assert (await refused.json())["reason"] == "TooManyRequests"
        # What the cache could answer at once takes its turn, too.
        assert await _status(client, CONFIGMAPS + "/none", JANE) == 429
        assert await _status(client, "/version", JANE) == 429
        gate.finish(ticket, flow)
        assert [await one for one in listing] == [200] * 3
        assert await _status(client, "/version", JANE) == 200
        assert (flow.level.queues.in_use, flow.level.queues.running) == (0, 0)
        await _shown(client)


async def _shown(client: aiohttp.ClientSession) -> None:
    async with client.get("/metrics", headers=ADMIN) as got:
        text = await got.text()
    wanted = 'apiserver_flowcontrol_rejected_requests_total{flow_schema="global-default",priority_level="global-default",reason="queue-full"} 3.0'
    assert wanted in text
    assert 'apiserver_flowcontrol_nominal_limit_seats{priority_level="workload-low"} 245.0' in text
    base = "/debug/api_priority_and_fairness/"
    for name, word in (
        ("dump_priority_levels", "workload-low, 0, true, false"),
        ("dump_queues", "global-default, 127, 0"),
        ("dump_requests", "FlowSchemaName"),
    ):
        async with client.get(base + name, headers=ADMIN) as got:
            assert word in await got.text()
    async with client.get(base + "dump_requests") as got:
        assert got.status == 403


async def _until(holds: Callable[[], bool]) -> None:
    for _ in range(1_000_000):
        if holds():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


async def _status(client: aiohttp.ClientSession, path: str, headers: dict[str, str]) -> int:
    async with client.get(path, headers=headers) as got:
        await got.read()
        return got.status


async def test_who_waits_too_long_gets_429_and_who_leaves_is_forgotten(tmp_path: Path) -> None:
    settings = FairnessSettings(queue_wait=0.2)
    async with _serving(tmp_path, fairness=settings) as (server, client):
        gate = _gate(server)
        flow = _jane(gate)
        ticket = _occupy(flow, flow.level.queues.seats)
        leaving = asyncio.ensure_future(_status(client, CONFIGMAPS, JANE))
        await _until(lambda: flow.level.queues.waiting == 1)
        leaving.cancel()
        await _until(lambda: flow.level.queues.waiting == 0)
        assert await _status(client, CONFIGMAPS, JANE) == 429
        assert await _status(client, "/version", JANE) == 200
        gate.finish(ticket, flow)
        assert flow.level.rejected[flow.schema, "time-out"] == 1


async def test_levels_and_schemas_change_while_the_server_runs(tmp_path: Path) -> None:
    flow_control = "/apis/flowcontrol.apiserver.k8s.io/v1"
    level = {
        "metadata": {"name": "tight"},
        "spec": {
            "type": "Limited",
            "limited": {
                "nominalConcurrencyShares": 10,
                "limitResponse": {
                    "type": "Queue",
                    "queuing": {"queues": 4, "handSize": 2, "queueLengthLimit": 5},
                },
            },
        },
    }
    rule = {
        "subjects": [{"kind": "User", "user": {"name": "jane"}}],
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}],
    }
    spec = {"matchingPrecedence": 500, "priorityLevelConfiguration": {"name": "tight"}, "rules": [rule]}
    async with _serving(tmp_path) as (server, client):
        gate = _gate(server)
        schema = {"metadata": {"name": "jane"}, "spec": spec}
        async with client.post(f"{flow_control}/flowschemas", json=schema, headers=ADMIN) as made:
            assert made.status == 201
        assert _jane(gate).schema == "global-default"
        path = f"{flow_control}/prioritylevelconfigurations"
        async with client.post(path, json=level, headers=ADMIN) as made:
            assert made.status == 201
        assert await _status(client, CONFIGMAPS, JANE) == 200
        flow = _jane(gate)
        assert (flow.schema, flow.level.name, len(flow.hand)) == ("jane", "tight", 2)
        assert len(flow.level.queues.queues) == 4
        async with client.delete(f"{path}/tight", headers=ADMIN) as gone:
            assert gone.status == 200
        assert await _status(client, CONFIGMAPS, JANE) == 200
        assert _jane(gate).schema == "global-default"


async def test_without_fairness_plain_limits_hold_but_for_masters(tmp_path: Path) -> None:
    options = {"fairness": FairnessSettings(enabled=False), "limits": LimitSettings(max_in_flight=1)}
    async with _serving(tmp_path, **options) as (server, client):
        gate = server._rest._gate  # type: ignore[union-attr]
        assert isinstance(gate, InFlightLimits)
        ticket = _occupy(gate.reading, 1)
        async with client.get(CONFIGMAPS, headers=JANE) as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
        async with client.post(CONFIGMAPS, json={"metadata": {"name": "a"}}, headers=JANE) as made:
            assert made.status == 201
        assert await _status(client, CONFIGMAPS, ADMIN) == 200
        gate.finish(ticket, gate.reading)
        assert await _status(client, CONFIGMAPS, JANE) == 200


async def test_long_lists_take_more_seats_and_are_compressed_for_who_is_far(tmp_path: Path) -> None:
    serving = {"gzip_loopback": True}
    async with _serving(tmp_path, serving=serving) as (server, client):
        for number in range(6):
            body = {"metadata": {"name": f"m{number}"}, "data": {"k": "x" * 98_000}}
            async with client.post(CONFIGMAPS, json=body, headers=ADMIN) as made:
                assert made.status == 201
        flow = _jane(_gate(server))
        seen = []
        admit = Flow.admit

        def spy(self: Flow, width: Width, *rest: Any) -> Any:
            seen.append(width.seats)
            return admit(self, width, *rest)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Flow, "admit", spy)
            async with client.get(CONFIGMAPS, headers={**JANE, "Accept-Encoding": "gzip"}) as got:
                assert got.headers["Content-Encoding"] == "gzip"
                assert len(orjson.loads(gzip.decompress(await got.read()))["items"]) == 6
            async with client.get(CONFIGMAPS, headers={**JANE, "Accept-Encoding": "br, gzip;q=0"}) as got:
                assert "Content-Encoding" not in got.headers
                assert len(await got.read()) > 6 * 98_000
        assert seen == [6, 6]
        assert (flow.level.queues.in_use, flow.level.queues.running) == (0, 0)


async def test_packed_bodies_and_odd_timeouts_are_refused(tmp_path: Path) -> None:
    async with _serving(tmp_path) as (_, client):
        packed = {**ADMIN, "Content-Encoding": "gzip", "Content-Type": "application/json"}
        async with client.post(CONFIGMAPS, data=gzip.compress(b"{}"), headers=packed) as refused:
            assert refused.status == 415
        for text, why in (
            ("x", 'time: invalid duration "x"'),
            ("5", 'time: missing unit in duration "5"'),
            ("5d", 'time: unknown unit "d" in duration "5d"'),
        ):
            async with client.get(f"{CONFIGMAPS}?timeout={text}", headers=ADMIN) as refused:
                assert refused.status == 400
                message = f"invalid timeout specified in the request URL - {why}"
                assert (await refused.json())["message"] == message
        assert await _status(client, f"{CONFIGMAPS}?timeout=1m30s", ADMIN) == 200


async def test_readyz_tells_of_the_end_while_everything_is_still_served(tmp_path: Path) -> None:
    async with _serving(tmp_path, serving={"shutdown_delay": 0.3}) as (server, client):
        assert await _status(client, "/readyz", {}) == 200
        stopping = asyncio.ensure_future(server.stop())
        await asyncio.sleep(0)
        async with client.get("/readyz?verbose", headers=ADMIN) as got:
            assert got.status == 500
            assert "[-]shutdown failed" in await got.text()
        assert await _status(client, "/livez", {}) == 200
        async with client.post(CONFIGMAPS, json={"metadata": {"name": "late"}}, headers=ADMIN) as made:
            assert made.status == 201
        async with client.get(f"{CONFIGMAPS}?watch=1", headers=ADMIN) as watch:
            await watch.content.readline()
            while await watch.content.readline():
                pass
            # The last chunk came: reading to the end raised nothing.
            assert watch.content.at_eof()
        await stopping


def test_widths_follow_kubernetes_estimates() -> None:
    estimator = Estimator(FairnessSettings())
    assert estimator.of_list(50_000, 245) == NARROW
    assert estimator.of_list(450_000, 245).seats == 5
    assert estimator.of_list(35_000_000, 245).seats == 10
    assert estimator.of_list(35_000_000, 13).seats == 2
    assert estimator.of_write(9, 245) == NARROW
    assert estimator.of_write(40, 245) == Width(4, pytest.approx(0.0002))
    assert estimator.of_write(1000, 245) == Width(10, pytest.approx(0.002))
