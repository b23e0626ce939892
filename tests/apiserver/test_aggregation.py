"""The aggregation layer, with an extension server over TLS that serves metrics.k8s.io/v1beta1."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from apiserver.dict_lookup import DictLookup
from coxswain.api.kinds import Group
from coxswain.api.names import GVR, SERVICES, Object
from coxswain.apiserver import pki
from coxswain.apiserver.aggregation import registration
from coxswain.apiserver.aggregation.availability import LOCAL, Reference, Verdict, check, with_condition
from coxswain.apiserver.aggregation.merged import merge_groups, merge_v2
from coxswain.apiserver.aggregation.settings import AggregationSettings
from coxswain.apiserver.discovery import AGGREGATED_V2, Catalog, RemoteVersion, version_of_list
from coxswain.apiserver.proxying.locations import ENDPOINT_SLICES
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, ServingSettings, StorageSettings
from coxswain.client.interface import Call, UserInfo
from coxswain.store.interface import Op

ADMIN = {"Authorization": "Bearer T"}
API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
METRICS = "v1beta1.metrics.k8s.io"
GROUP = "/apis/metrics.k8s.io/v1beta1"

_NODE_METRICS: Object = {
    "kind": "NodeMetrics",
    "apiVersion": "metrics.k8s.io/v1beta1",
    "metadata": {"name": "n1"},
    "timestamp": "2026-01-01T00:00:00Z",
    "window": "10s",
    "usage": {"cpu": "100m", "memory": "64Mi"},
}
_RESOURCES: Object = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": "metrics.k8s.io/v1beta1",
    "resources": [
        {
            "name": "nodes",
            "singularName": "",
            "namespaced": False,
            "kind": "NodeMetrics",
            "verbs": ["get", "list"],
        },
        {
            "name": "pods",
            "singularName": "",
            "namespaced": True,
            "kind": "PodMetrics",
            "verbs": ["get", "list"],
        },
    ],
}
_SCHEMA = "io.k8s.metrics.v1beta1.NodeMetrics"


@dataclass
class Metrics:
    """The extension server. It believes what a front proxy's certificate comes with, and tells who asked."""

    port: int = 0
    asked: list[tuple[str, str, Object]] = field(default_factory=list)
    well: bool = True

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        certificate = request.transport.get_extra_info("peercert")
        assert certificate and (("commonName", "front-proxy-client"),) in certificate["subject"]
        who: Object = {
            "user": request.headers.get("X-Remote-User"),
            "groups": request.headers.getall("X-Remote-Group", []),
            "authorization": request.headers.get("Authorization"),
        }
        self.asked.append((request.method, request.path_qs, who))
        if not self.well:
            return web.Response(status=500)
        if request.headers.get("Upgrade"):
            return await self._upgrade(request)
        if "watch" in request.query:
            return await self._watch(request)
        documents: dict[str, Object] = {
            GROUP: _RESOURCES,
            f"{GROUP}/nodes": {"kind": "NodeMetricsList", "metadata": {}, "items": [_NODE_METRICS]},
            f"{GROUP}/nodes/n1": _NODE_METRICS,
            f"/openapi/v3{GROUP}": {"openapi": "3.0.0", "paths": {f"{GROUP}/nodes": {}}},
            "/openapi/v2": {
                "paths": {
                    f"{GROUP}/nodes": {
                        "get": {"responses": {"200": {"schema": {"$ref": f"#/definitions/{_SCHEMA}"}}}}
                    },
                    "/apis/other/v1/": {},
                },
                "definitions": {_SCHEMA: {"type": "object"}},
            },
        }
        if request.method == "POST":
            return web.json_response({"sent": orjson.loads(await request.read())}, status=201)
        found = documents.get(request.path)
        return web.json_response(found) if found is not None else web.Response(status=404)

    async def _watch(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for number in range(3):
            await response.write(orjson.dumps({"type": "ADDED", "object": {"number": number}}) + b"\n")
        await asyncio.Event().wait()
        return response

    async def _upgrade(self, request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket


@dataclass
class Running:
    server: ApiServer
    client: aiohttp.ClientSession
    metrics: Metrics
    authority: pki.Pki

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        options.setdefault("headers", ADMIN)
        async with self.client.request(method, path, **options) as answer:
            body = await answer.read()
            return answer.status, orjson.loads(body) if "json" in answer.content_type else body.decode()

    async def register(self, **spec: Any) -> None:
        bundle = base64.b64encode(self.authority.ca.certificate).decode()
        body = {
            "metadata": {"name": METRICS},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {"namespace": "kube-system", "name": "metrics-server", "port": 443},
                "caBundle": bundle,
                **spec,
            },
        }
        code, answer = await self.ask("POST", API_SERVICES, json=body)
        assert code == 201, answer

    async def becomes(self, status: str, reason: str) -> Object:
        """The condition, once it is so."""
        async with asyncio.timeout(10):
            while True:
                code, service = await self.ask("GET", f"{API_SERVICES}/{METRICS}")
                for one in (service.get("status") or {}).get("conditions") or () if code == 200 else ():
                    if (one["status"], one["reason"]) == (status, reason):
                        return dict(one)
                await asyncio.sleep(0.01)

    async def back(self) -> None:
        """Let the Service lead to the extension server."""
        piece: Object = {
            "metadata": {
                "name": "m-1",
                "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "metrics-server"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["127.0.0.1"]}],
            "ports": [{"name": "https", "port": self.metrics.port}],
        }
        # Validation refuses loopback addresses in slices, and these tests have no other.
        op = Op("/registry/endpointslices/kube-system/m-1", orjson.dumps(piece))
        await self.server.pipeline.core.storage.commit(op, None)


@contextlib.asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Running]:
    tokens = directory / "tokens.csv"
    tokens.write_text('T,admin,1,"system:masters"\nJ,jane,2,crew\n')
    config = ApiServerConfig(
        data_dir=directory / "data",
        token_auth_file=tokens,
        disable_admission_plugins=("ServiceAccount",),
        serving=ServingSettings(port=0, shutdown_grace=0.2),
        storage=StorageSettings(backend="memory"),
        aggregation=AggregationSettings(probe_interval=0.3, retry_interval=0.01, gather=0.0),
    )
    server = ApiServer(config)
    await server.start()
    assert server.pki is not None
    authority = pki.Pki(directory / "extension")
    pair = authority.kubelet_serving("metrics", ["metrics-server.kube-system.svc"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate_file, pair.key_file)
    context.load_verify_locations(cadata=server.pki.front_proxy()[0].certificate.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    metrics = Metrics()
    runner = web.ServerRunner(web.Server(metrics.answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    metrics.port = runner.addresses[0][1]
    tls = ssl.create_default_context(cadata=server.pki.ca.certificate.decode())
    try:
        async with aiohttp.ClientSession(server.url, connector=aiohttp.TCPConnector(ssl=tls)) as client:
            yield Running(server, client, metrics, authority)
        await asyncio.sleep(0)
    finally:
        await server.stop()
        await runner.cleanup()


@pytest.mark.conformance(
    "[sig-api-machinery] Aggregator Should be able to support the 1.17 Sample API Server using the current Aggregator "
    "[LinuxOnly] [Conformance]",
    note="the extension server is one of the test's own, reached over TLS",
)
async def test_an_extension_server_serves_its_group_under_our_roof(tmp_path: Path) -> None:
    async with running(tmp_path) as one:
        await _local_services(one)
        await _what_extensions_must_know(one)
        await _conditions_on_the_way(one)
        await _requests(one)
        await _components_in_this_process(one)
        await _watch_and_upgrade(one)
        await _who_may(one)
        await _discovery(one)
        await _openapi(one)
        await _documents_that_clients_keep(one)
        await _unavailable(one)
        await _gone(one)


async def _local_services(one: Running) -> None:
    async with asyncio.timeout(10):
        while True:
            _, listed = await one.ask("GET", API_SERVICES)
            conditions = {
                item["metadata"]["name"]: (item.get("status") or {}).get("conditions")
                for item in listed["items"]
            }
            if conditions and all(conditions.values()):
                break
            await asyncio.sleep(0.01)
    assert {"v1.", "v1.apps", "v2.autoscaling", "v1.autoscaling"} <= set(conditions)
    assert "v1.apiregistration.k8s.io" not in conditions
    (condition,) = conditions["v1.apps"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Available", "True", "Local")
    definition: Object = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "boats", "kind": "Boat"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                }
            ],
        },
    }
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert (await one.ask("POST", path, json=definition))[0] == 201
    await _until(one, f"{API_SERVICES}/v1.example.com", 200)
    assert (await one.ask("DELETE", f"{path}/boats.example.com"))[0] == 200
    await _until(one, f"{API_SERVICES}/v1.example.com", 404)


async def _until(one: Running, path: str, code: int) -> None:
    async with asyncio.timeout(10):
        while True:
            if (await one.ask("GET", path))[0] == code:
                return
            await asyncio.sleep(0.01)


async def _what_extensions_must_know(one: Running) -> None:
    path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
    _, found = await one.ask("GET", path)
    data = found["data"]
    assert one.server.pki is not None
    assert data["requestheader-client-ca-file"] == one.server.pki.front_proxy()[0].certificate.decode()
    assert data["client-ca-file"] == one.server.pki.ca.certificate.decode()
    assert data["requestheader-allowed-names"] == '["front-proxy-client"]'
    assert data["requestheader-username-headers"] == '["X-Remote-User"]'


async def _conditions_on_the_way(one: Running) -> None:
    await one.register()
    missing = await one.becomes("False", "ServiceNotFound")
    assert missing["message"] == 'service/metrics-server in "kube-system" is not present'
    code, text = await one.ask("GET", f"{GROUP}/nodes")
    assert (code, text) == (503, "service unavailable\n")
    path = "/api/v1/namespaces/kube-system/services"
    service: Object = {
        "metadata": {"name": "metrics-server"},
        "spec": {"ports": [{"name": "https", "port": 444}]},
    }
    assert (await one.ask("POST", path, json=service))[0] == 201
    await one.becomes("False", "ServicePortError")
    patch = {**ADMIN, "Content-Type": "application/merge-patch+json"}
    ports: Object = {"spec": {"ports": [{"name": "https", "port": 443, "protocol": "TCP"}]}}
    assert (await one.ask("PATCH", f"{path}/metrics-server", json=ports, headers=patch))[0] == 200
    await one.becomes("False", "EndpointsNotFound")
    await one.back()
    assert (await one.becomes("True", "Passed"))["message"] == "all checks passed"


async def _requests(one: Running) -> None:
    code, found = await one.ask("GET", f"{GROUP}/nodes/n1?a=1&b=%20x")
    assert (code, found) == (200, _NODE_METRICS)
    method, path, who = one.metrics.asked[-1]
    assert (method, path) == ("GET", f"{GROUP}/nodes/n1?a=1&b=%20x")
    assert who["user"] == "admin" and "system:masters" in who["groups"] and who["authorization"] is None
    forged = {**ADMIN, "X-Remote-User": "root", "X-Remote-Group": "wheel"}
    await one.ask("GET", f"{GROUP}/nodes", headers=forged)
    assert one.metrics.asked[-1][2]["user"] == "admin" and "wheel" not in one.metrics.asked[-1][2]["groups"]
    as_jane = {**ADMIN, "Impersonate-User": "jane", "Impersonate-Group": "system:masters"}
    await one.ask("GET", f"{GROUP}/nodes", headers=as_jane)
    assert one.metrics.asked[-1][2]["user"] == "jane"
    code, found = await one.ask("POST", f"{GROUP}/namespaces/d/pods", json={"a": 1})
    assert (code, found) == (201, {"sent": {"a": 1}})
    assert (await one.ask("GET", f"{GROUP}/nothing"))[0] == 404


async def _components_in_this_process(one: Running) -> None:
    nodes = GVR("metrics.k8s.io", "v1beta1", "nodes")
    autoscaler = UserInfo("system:admin", ("system:masters",))
    pipeline = one.server.pipeline
    answer = await pipeline.call(Call("get", nodes, "", "n1"), autoscaler)
    assert (answer.code, answer.object()) == (200, _NODE_METRICS)
    listed = await pipeline.list_raw(Call("list", nodes, query={"labelSelector": "a=b"}), autoscaler)
    assert [orjson.loads(item) for item in listed.items] == [_NODE_METRICS]
    assert one.metrics.asked[-1][1] == f"{GROUP}/nodes?labelSelector=a%3Db"
    assert one.metrics.asked[-1][2]["user"] == "system:admin"
    assert (await pipeline.call(Call("get", nodes, "", "n1"), UserInfo("jane"))).code == 403


async def _watch_and_upgrade(one: Running) -> None:
    async with one.client.get(f"{GROUP}/nodes?watch=1", headers=ADMIN) as watch:
        seen = [orjson.loads(await watch.content.readline())["object"]["number"] for _ in range(3)]
    assert seen == [0, 1, 2]
    async with one.client.ws_connect(f"{GROUP}/namespaces/d/pods/p/chat", headers=ADMIN) as socket:
        await socket.send_str("ahoy")
        assert (await socket.receive()).data == "AHOY"
    assert one.metrics.asked[-1][2]["user"] == "admin"


async def _who_may(one: Running) -> None:
    jane = {"Authorization": "Bearer J"}
    asked = len(one.metrics.asked)
    code, found = await one.ask("GET", f"{GROUP}/nodes", headers=jane)
    assert code == 403 and 'cannot list resource "nodes" in API group "metrics.k8s.io"' in found["message"]
    assert (await one.ask("GET", f"{GROUP}/nodes", headers={}))[0] in (401, 403)
    assert not any(who["user"] == "jane" for _, _, who in one.metrics.asked[asked:])


async def _discovery(one: Running) -> None:
    _, groups = await one.ask("GET", "/apis")
    names = [group["name"] for group in groups["groups"]]
    assert names[0] == "apiregistration.k8s.io" and names[-1] == "metrics.k8s.io"
    code, group = await one.ask("GET", "/apis/metrics.k8s.io")
    assert code == 200 and group["preferredVersion"]["groupVersion"] == "metrics.k8s.io/v1beta1"
    assert await one.ask("GET", GROUP) == (200, _RESOURCES)
    _, every = await one.ask("GET", "/apis", headers={**ADMIN, "Accept": AGGREGATED_V2})
    (own,) = [item for item in every["items"] if item["metadata"]["name"] == "metrics.k8s.io"]
    (version,) = own["versions"]
    assert version["freshness"] == "Current"
    assert [resource["resource"] for resource in version["resources"]] == ["nodes", "pods"]
    assert version["resources"][0]["responseKind"] == {
        "group": "metrics.k8s.io",
        "version": "v1beta1",
        "kind": "NodeMetrics",
    }


async def _documents_that_clients_keep(one: Running) -> None:
    for path, accept in (("/apis", AGGREGATED_V2), (f"/openapi/v3{GROUP}", "*/*"), ("/openapi/v2", "*/*")):
        asked = {**ADMIN, "Accept": accept}
        async with one.client.get(path, headers=asked) as answer:
            tag = answer.headers["ETag"]
            assert answer.status == 200 and tag.startswith('"') and answer.headers["Vary"] == "Accept"
        async with one.client.get(path, headers={**asked, "If-None-Match": tag}) as answer:
            assert (answer.status, await answer.read(), answer.headers["ETag"]) == (304, b"", tag)
        async with one.client.get(path, headers={**asked, "If-None-Match": '"other"'}) as answer:
            assert answer.status == 200


async def _openapi(one: Running) -> None:
    _, index = await one.ask("GET", "/openapi/v3")
    assert index["paths"]["apis/metrics.k8s.io/v1beta1"]["serverRelativeURL"].startswith(
        f"/openapi/v3{GROUP}?hash="
    )
    assert "apis/apps/v1" in index["paths"]
    _, document = await one.ask("GET", f"/openapi/v3{GROUP}")
    assert list(document["paths"]) == [f"{GROUP}/nodes"]
    _, document = await one.ask("GET", "/openapi/v2")
    assert f"{GROUP}/nodes" in document["paths"] and "/apis/other/v1/" not in document["paths"]
    assert _SCHEMA in document["definitions"]


async def _unavailable(one: Running) -> None:
    one.metrics.well = False
    failed = await one.becomes("False", "FailedDiscoveryCheck")
    assert failed["message"].endswith(f"bad status from https://127.0.0.1:{one.metrics.port}{GROUP}: 500")
    assert await one.ask("GET", f"{GROUP}/nodes") == (503, "service unavailable\n")
    _, every = await one.ask("GET", "/apis", headers={**ADMIN, "Accept": AGGREGATED_V2})
    (own,) = [item for item in every["items"] if item["metadata"]["name"] == "metrics.k8s.io"]
    assert own["versions"][0]["freshness"] == "Stale" and own["versions"][0]["resources"]
    _, groups = await one.ask("GET", "/apis")
    assert groups["groups"][-1]["name"] == "metrics.k8s.io"
    one.metrics.well = True
    await one.becomes("True", "Passed")
    assert (await one.ask("GET", f"{GROUP}/nodes"))[0] == 200


async def _gone(one: Running) -> None:
    assert (await one.ask("DELETE", f"{API_SERVICES}/{METRICS}"))[0] == 200
    await _until(one, GROUP, 404)
    _, groups = await one.ask("GET", "/apis")
    assert "metrics.k8s.io" not in [group["name"] for group in groups["groups"]]


async def test_a_certificate_that_the_bundle_does_not_sign_is_not_believed(tmp_path: Path) -> None:
    async with running(tmp_path) as one:
        path = "/api/v1/namespaces/kube-system/services"
        service: Object = {
            "metadata": {"name": "metrics-server"},
            "spec": {"ports": [{"name": "https", "port": 443}]},
        }
        assert (await one.ask("POST", path, json=service))[0] == 201
        await one.back()
        assert one.server.pki is not None
        wrong = base64.b64encode(one.server.pki.ca.certificate).decode()
        await one.register(caBundle=wrong)
        failed = await one.becomes("False", "FailedDiscoveryCheck")
        assert "CERTIFICATE_VERIFY_FAILED" in failed["message"]
        assert one.metrics.asked == []
        patch = {**ADMIN, "Content-Type": "application/merge-patch+json"}
        spec: Object = {"spec": {"caBundle": None, "insecureSkipTLSVerify": True}}
        assert (await one.ask("PATCH", f"{API_SERVICES}/{METRICS}", json=spec, headers=patch))[0] == 200
        await one.becomes("True", "Passed")


# -- decisions


def _service(name: str, managed: str | None, **spec: Any) -> Object:
    labels = {registration.MANAGED: managed} if managed else {}
    return {"metadata": {"name": name, "uid": "u", "labels": labels}, "spec": spec}


def test_registration_follows_kubernetes_table() -> None:
    wanted = {"v1.a": _service("v1.a", "onstart", x=1), "v1.b": _service("v1.b", "true", x=1)}

    def decided(existing: dict[str, Object], *, at_start: bool) -> list[tuple[str, str]]:
        return [(one.verb, one.name) for one in registration.decide(existing, wanted, at_start=at_start)]

    assert decided({}, at_start=True) == [("create", "v1.a"), ("create", "v1.b")]
    assert decided({}, at_start=False) == [("create", "v1.b")]
    taken = {"v1.a": _service("v1.a", None, service={}), "v1.b": _service("v1.b", None, x=2)}
    assert decided(taken, at_start=True) == []
    other = {"v1.a": _service("v1.a", "onstart", x=2), "v1.b": _service("v1.b", "true", x=2)}
    assert decided(other, at_start=True) == [("update", "v1.a"), ("update", "v1.b")]
    assert decided(other, at_start=False) == [("update", "v1.b")]
    stale = {**wanted, "v1.c": _service("v1.c", "onstart"), "v1.d": _service("v1.d", "true")}
    assert decided(stale, at_start=True) == [("delete", "v1.c"), ("delete", "v1.d")]
    assert decided(stale, at_start=False) == [("delete", "v1.d")]


def test_every_built_in_group_version_has_a_priority_in_discoverys_order() -> None:
    groups = [group for group in Catalog.built_in().groups if group.name != registration.OWN_GROUP]
    ranks = [(-registration.group_priority(group.name), group.name) for group in groups]
    assert ranks == sorted(ranks)
    for group in groups:
        for version in group.versions:
            assert version in registration.PRIORITIES[group.name][1], (group.name, version)
        ordered = sorted(group.versions, key=lambda one: -registration.version_priority(group.name, one))
        assert tuple(ordered) == group.versions


def _remote(group: str, version: str, group_priority: int, version_priority: int) -> RemoteVersion:
    return RemoteVersion(group, version, group_priority, version_priority)


def test_groups_and_versions_stand_by_priority() -> None:
    groups = (
        Group("apiregistration.k8s.io", ("v1",), "v1"),
        Group("apps", ("v1",), "v1"),
        Group("batch", ("v1",), "v1"),
        Group("example.com", ("v2", "v1"), "v2"),
    )
    remotes = [
        _remote("metrics.k8s.io", "v1beta1", 100, 100),
        _remote("first.io", "v1", 19000, 1),
        _remote("between.io", "v1alpha1", 17500, 5),
        _remote("between.io", "v1", 17500, 5),
        _remote("between.io", "v9", 17500, 1),
        _remote("example.com", "v3", 1000, 200),
    ]
    merged = merge_groups(groups, remotes)
    assert [group.name for group in merged] == [
        "apiregistration.k8s.io",
        "first.io",
        "apps",
        "between.io",
        "batch",
        "example.com",
        "metrics.k8s.io",
    ]
    assert merged[3].versions == ("v1", "v1alpha1", "v9")
    assert merged[5] == Group("example.com", ("v3", "v2", "v1"), "v3")


def test_definitions_with_the_same_name_and_another_meaning_are_renamed() -> None:
    document: Object = {"paths": {}, "definitions": {"Meta": {"type": "object"}, "Same": {"type": "string"}}}
    remote: Object = {
        "paths": {"/apis/g/v1/things": {"get": {"$ref": "#/definitions/Thing"}}, "/apis/g/v10/": {}},
        "definitions": {
            "Thing": {
                "properties": {"m": {"$ref": "#/definitions/Meta"}, "s": {"$ref": "#/definitions/Same"}}
            },
            "Meta": {"type": "object", "description": "another"},
            "Same": {"type": "string"},
            "Unused": {},
        },
    }
    merge_v2(document, remote, "/apis/g/v1")
    assert list(document["paths"]) == ["/apis/g/v1/things"]
    assert set(document["definitions"]) == {"Meta", "Meta_v2", "Same", "Thing"}
    assert document["definitions"]["Meta"] == {"type": "object"}
    assert document["definitions"]["Thing"]["properties"]["m"] == {"$ref": "#/definitions/Meta_v2"}


def test_conditions_keep_their_time_while_nothing_changes() -> None:
    status = with_condition({}, LOCAL, "then")
    assert status is not None and status["conditions"][0]["lastTransitionTime"] == "then"
    assert with_condition({"status": status}, LOCAL, "now") is None
    other = with_condition({"status": status}, Verdict(True, "Passed", "x"), "now")
    assert other is not None and other["conditions"][0]["lastTransitionTime"] == "then"
    changed = with_condition({"status": status}, Verdict(False, "Gone", "x"), "now")
    assert changed is not None and changed["conditions"][0]["lastTransitionTime"] == "now"


@pytest.mark.parametrize(("ready", "reason"), [(True, None), (None, None), (False, "MissingEndpoints")])
def test_only_ready_addresses_count(ready: bool | None, reason: str | None) -> None:
    lookup = DictLookup()
    lookup.put(SERVICES, "s", "d", spec={"ports": [{"port": 443, "name": "https"}]})
    conditions = {} if ready is None else {"ready": ready}
    lookup.put(
        ENDPOINT_SLICES,
        "s-1",
        "d",
        metadata={"labels": {"kubernetes.io/service-name": "s"}},
        endpoints=[{"addresses": ["10.0.0.1"], "conditions": conditions}],
        ports=[{"name": "https", "port": 4443}],
    )
    verdict = check(lookup, Reference("d", "s", 443))
    assert (None if verdict is None else verdict.reason) == reason


def test_older_lists_become_aggregated_discovery() -> None:
    listed: Object = {
        "resources": [
            {
                "name": "boats/scale",
                "kind": "Scale",
                "group": "autoscaling",
                "version": "v1",
                "verbs": ["get"],
            },
            {"name": "boats", "kind": "Boat", "namespaced": True, "singularName": "boat", "verbs": ["list"]},
        ]
    }
    (boats,) = version_of_list(listed, "example.com", "v1")
    assert boats["responseKind"] == {"group": "example.com", "version": "v1", "kind": "Boat"}
    assert boats["subresources"] == [
        {
            "subresource": "scale",
            "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
            "verbs": ["get"],
        }
    ]
