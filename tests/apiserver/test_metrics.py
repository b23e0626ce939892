"""What ``/metrics`` says, under Kubernetes' names and labels."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from coxswain.api.names import GVR, PODS
from coxswain.apiserver import metrics
from coxswain.apiserver.fairness.level import WAITS, Level
from coxswain.apiserver.fairness.queueset import Ticket
from coxswain.apiserver.metrics import DURATIONS, Served, Tally
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, ServingSettings, StorageSettings

TOKEN = {"Authorization": "Bearer T"}
MAPS = "/api/v1/namespaces/default/configmaps"


class Shown:
    """The text of ``/metrics``, to be asked for single samples."""

    def __init__(self, text: str) -> None:
        self._samples = [each for family in text_string_to_metric_families(text) for each in family.samples]

    def of(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def names(self) -> set[str]:
        return {sample.name for sample in self._samples}

    def values(self, name: str) -> set[str]:
        return {value for sample in self._samples if sample.name == name for value in sample.labels.values()}

    def labels(self, name: str) -> set[str]:
        return {label for sample in self._samples if sample.name == name for label in sample.labels}


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[tuple[ApiServer, aiohttp.ClientSession]]:
    (directory / "tokens").write_text('T,admin,1,"system:masters"\nJ,jane@example.com,2,\n')
    server = ApiServer(
        ApiServerConfig(
            data_dir=directory / "data",
            token_auth_file=directory / "tokens",
            serving=ServingSettings(port=0, shutdown_grace=0.5),
            storage=StorageSettings(backend="memory"),
        )
    )
    await server.start()
    assert server.pki is not None
    tls = ssl.create_default_context(cadata=server.pki.ca.certificate.decode())
    try:
        connector = aiohttp.TCPConnector(ssl=tls)
        async with aiohttp.ClientSession(server.url, connector=connector, headers=TOKEN) as client:
            yield server, client
        await asyncio.sleep(0)
    finally:
        await server.stop()


async def ask(client: aiohttp.ClientSession, method: str, path: str, **options: Any) -> int:
    async with client.request(method, path, **options) as answer:
        await answer.read()
        return answer.status


async def shown(client: aiohttp.ClientSession) -> Shown:
    async with client.get("/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return Shown(await answer.text())


async def test_requests_are_counted_with_kubernetes_labels(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client):
        before = await shown(client)
        body = {"metadata": {"name": "a"}}
        assert await ask(client, "POST", MAPS, json=body) == 201
        assert await ask(client, "POST", f"{MAPS}?dryRun=All", json={"metadata": {"name": "b"}}) == 201
        assert await ask(client, "GET", f"{MAPS}/a") == 200
        assert await ask(client, "GET", MAPS) == 200
        apply = {"Content-Type": "application/apply-patch+yaml"}
        applied = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}'
        assert await ask(client, "PATCH", f"{MAPS}/c?fieldManager=m", data=applied, headers=apply) == 201
        assert await ask(client, "GET", f"{MAPS}/a", headers={"Authorization": "Bearer X"}) == 401
        assert await ask(client, "GET", f"{MAPS}/a", headers={"Authorization": "Bearer J"}) == 403
        after = await shown(client)

    def more(name: str, **labels: str) -> float:
        return after.of(name, **labels) - before.of(name, **labels)

    what = {"group": "", "version": "v1", "resource": "configmaps", "component": "apiserver"}
    total = "apiserver_request_total"
    assert more(total, verb="POST", dry_run="", scope="resource", code="201", **what) == 1
    assert more(total, verb="POST", dry_run="All", code="201", **what) == 1
    assert more(total, verb="GET", scope="resource", code="200", **what) == 1
    assert more(total, verb="LIST", scope="namespace", code="200", **what) == 1
    assert more(total, verb="APPLY", code="201", **what) == 1
    assert more(total, verb="GET", code="401", **what) == more(total, verb="GET", code="403", **what) == 1
    assert more("apiserver_request_duration_seconds_count", verb="LIST", **what) == 1
    assert more("apiserver_request_duration_seconds_bucket", verb="LIST", le="60", **what) == 1
    assert more("apiserver_request_sli_duration_seconds_count", verb="LIST", **what) == 1
    assert more("apiserver_response_sizes_count", verb="LIST", **what) == 1
    assert more("apiserver_response_sizes_sum", verb="LIST", **what) > 100
    assert more("apiserver_admission_step_admission_duration_seconds_count", operation="CREATE") >= 6
    stored = {"operation": "create", "group": "", "resource": "configmaps"}
    assert more("etcd_request_duration_seconds_count", **stored) == 2
    assert more("authentication_attempts", result="error") == 1
    assert more("authenticated_user_requests", username="email_id") == 1
    assert more("authenticated_user_requests", username="admin") > 5
    assert after.of("apiserver_flowcontrol_request_wait_duration_seconds_bucket", le="0") > 0
    assert after.of("kubernetes_build_info", major="1") == 1
    assert after.labels("apiserver_longrunning_requests") <= {
        *("verb", "group", "version", "resource", "subresource", "scope", "component")
    }
    assert not [name for name in after.names() if name.endswith("_created")]


async def test_what_is_stored_and_watched_is_shown(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client):
        before = await shown(client)
        assert await ask(client, "POST", MAPS, json={"metadata": {"name": "a"}}) == 201
        what = {"resource": "configmaps", "scope": "namespace"}
        long = {"verb": "WATCH", "resource": "configmaps", "scope": "namespace"}
        async with client.get(f"{MAPS}?watch=1") as watch:
            first = await watch.content.readline()
            assert b"ADDED" in first
            assert (await shown(client)).of("apiserver_longrunning_requests", **long) == 1
        assert await ask(client, "DELETE", f"{MAPS}/a") == 200
        asked = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        async with client.get(f"{MAPS}?{asked}") as watch:
            assert b"BOOKMARK" in await watch.content.readline()
        after = await shown(client)
    assert after.of("apiserver_longrunning_requests", **long) == 0
    for name in ("apiserver_watch_events_total", "apiserver_init_events_total"):
        assert after.of(name, resource="configmaps") > before.of(name, resource="configmaps")
    lists = "apiserver_watch_list_duration_seconds_count"
    assert after.of(lists, **what) == before.of(lists, **what) + 1
    received = "apiserver_watch_cache_events_received_total"
    assert after.of(received, resource="configmaps") == before.of(received, resource="configmaps") + 2
    assert after.of("apiserver_resource_objects", group="", resource="namespaces") == 4
    assert after.of("apiserver_storage_objects", resource="clusterroles.rbac.authorization.k8s.io") > 50
    assert after.of("apiserver_resource_size_estimate_bytes", resource="namespaces") > 400


async def test_what_clients_make_up_is_counted_under_no_name(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client):
        before = await shown(client)
        for path in ("/api/v1/namespaces/d/madeup", f"{MAPS}/a/madeup", "/madeup", "/apis/madeup/v1/x"):
            assert await ask(client, "GET", path) == 404
        after = await shown(client)
    made_up = [label for name in after.names() for label in after.values(name) if "madeup" in label]
    assert not made_up
    count = "apiserver_request_total"
    nothing = {"resource": "", "subresource": "", "code": "404"}
    assert after.of(count, **nothing) == before.of(count, **nothing) + 4


def test_a_tally_is_a_histogram_as_prometheus_has_it() -> None:
    tally = Tally((0.0, 1.0, 2.5))
    for value in (0.0, 0.5, 1.0, 2.0, 9.0):
        tally.observe(value)
    assert tally.buckets() == [("0", 1.0), ("1", 3.0), ("2.5", 4.0), ("+Inf", 5.0)]
    assert tally.total == 12.5


def test_waiting_is_no_part_of_a_requests_own_time() -> None:
    served = Served(("GET", "", "", "v1", "pods", "", "resource"), sized=True)
    served.observe(200, 3.0, 10, 2.95)
    served.observe(200, 0.01, 10)
    found = Shown("".join(metrics._own_durations([served])))
    name = "apiserver_request_sli_duration_seconds"
    assert [found.of(f"{name}_bucket", le=le) for le in ("0.025", "0.1", "60", "+Inf")] == [
        1.0,
        2.0,
        2.0,
        2.0,
    ]
    assert found.of(f"{name}_count") == 2.0
    assert found.of(f"{name}_sum") == pytest.approx(0.06)


def test_dry_runs_are_among_a_verbs_own_durations() -> None:
    served = [Served(("POST", dry, "", "v1", "pods", "", "resource"), sized=False) for dry in ("", "All")]
    served[0].observe(201, 0.02)
    served[1].observe(201, 0.3)
    found = Shown("".join(metrics._own_durations(served)))
    name = "apiserver_request_sli_duration_seconds"
    assert [found.of(f"{name}_bucket", le=le) for le in ("0.025", "0.2", "0.4")] == [1.0, 1.0, 2.0]
    assert [each.durations.total for each in served] == [0.02, 0.3]


def test_a_request_in_self_defense_is_counted_twice() -> None:
    served = metrics.of("update", PODS, "", "n", "p", False, lambda gvr, subresource: True)
    served.observe(429, 0.001)
    served.terminate(429)
    labels = {"verb": "PUT", "resource": "pods", "code": "429"}
    found = Shown(metrics.exposition().decode())
    assert found.of("apiserver_request_terminations_total", **labels) >= 1
    assert found.of("apiserver_request_total", **labels) >= 1


def test_kinds_of_requests_are_told_apart_once() -> None:
    def known(gvr: GVR, subresource: str) -> bool:
        return gvr == PODS

    one = metrics.of("get", PODS, "log", "n", "p", False, known)
    assert one is metrics.of("get", PODS, "log", "n", "q", False, known)
    assert one.labels[0] == "CONNECT"
    strange = metrics.of("get", GVR("x", "v1", "y"), "", "n", "p", False, known)
    assert strange is metrics.other("get", "")
    assert DURATIONS[-1] == 60.0


def test_methods_and_verbs_that_are_made_up_are_counted_as_others() -> None:
    def known(gvr: GVR, subresource: str) -> bool:
        return True

    before = len(metrics._served) + len(metrics._others)
    made_up = [metrics.other(f"MADE{n}", "") for n in range(100)]
    made_up += [metrics.of(f"made-{n}", PODS, "", "n", "p", False, known) for n in range(100)]
    assert set(made_up) == {metrics.other("TRACE", "")}
    assert made_up[0].labels == ("other", "", "", "", "", "", "")
    assert metrics.of("put", PODS, "", "n", "p", False, known) is metrics.other("PUT", "")
    assert len(metrics._served) + len(metrics._others) <= before + 2


def test_resources_that_come_and_go_are_told_apart_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_MOST_KINDS", len(metrics._served) + 3)
    monkeypatch.setattr(metrics, "_served", dict(metrics._served))

    def known(gvr: GVR, subresource: str) -> bool:
        return True

    found = [metrics.of("get", GVR("x", "v1", f"r{n}"), "", "", "a", False, known) for n in range(10)]
    assert len(set(found)) == 4
    assert found[3] is found[9] is metrics.other("get", "")
    timings = metrics.Timings("t", "T.", ("a", "b"), (1.0,))
    monkeypatch.setattr(metrics, "_MOST_KINDS", 2)
    for n in range(5):
        timings.observe((f"{n}", "x"), 0.5)
    assert list(timings.tallies) == [("0", "x"), ("1", "x"), ("", "")]
    assert timings.tallies["", ""].counts == [3, 0]


async def test_a_client_cannot_fill_the_metrics_with_methods(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, client):
        for n in range(5):
            await ask(client, f"MADEUP{n}", f"{MAPS}/a")
            await ask(client, f"MADEUP{n}", f"/nothing/{n}")
        after = await shown(client)
    assert not [label for name in after.names() for label in after.values(name) if "madeup" in label.lower()]
    assert after.of("apiserver_request_total", verb="other", resource="") >= 10


def test_those_who_waited_are_told_from_those_who_did_not() -> None:
    level = Level("l", "u", {})
    level.dispatched["s"] = 3
    ticket = Ticket("s", ())
    ticket.arrived, ticket.started = 1.0, 1.3
    level.waited(ticket)
    from coxswain.apiserver.fairness.metrics import _waits

    family = _waits({"l": [level]})
    counts = {s.labels["le"]: s.value for s in family.samples if s.name.endswith("_bucket")}
    assert (counts["0"], counts["0.2"], counts["0.5"]) == (2.0, 2.0, 3.0)
    assert len(counts) == len(WAITS) + 1
