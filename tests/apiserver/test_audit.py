"""The audit log: policies, stages, levels, annotations, and where events go."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import yaml

from coxswain.apiserver.audit import annotations, policy
from coxswain.apiserver.audit.logfile import LogFile
from coxswain.apiserver.audit.settings import AuditSettings
from coxswain.apiserver.audit.webhook import Webhook
from coxswain.apiserver.authz.attributes import Attributes
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, ServingSettings, StorageSettings
from coxswain.base.errors import ConfigurationError, ResourceUnavailable
from coxswain.client.interface import UserInfo

ADMIN = {"Authorization": "Bearer SECRET-TOKEN", "User-Agent": "test/1"}
CORE = "/api/v1/namespaces/default"
JANE = UserInfo("jane", ("dev",))


def _policy(*rules: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **options}


# -- policies

PODS = Attributes(JANE, "get", "", "v1", "pods", "", "default", "p")


@pytest.mark.parametrize(
    ("rule", "request_", "matches"),
    [
        ({}, PODS, True),
        ({"users": ["jane"]}, PODS, True),
        ({"users": ["joe"]}, PODS, False),
        ({"userGroups": ["ops", "dev"]}, PODS, True),
        ({"userGroups": ["ops"]}, PODS, False),
        ({"verbs": ["list"]}, PODS, False),
        ({"namespaces": ["default"]}, PODS, True),
        ({"namespaces": [""]}, PODS, False),
        ({"namespaces": [""]}, PODS._replace(namespace=""), True),
        ({"resources": [{"group": ""}]}, PODS, True),
        ({"resources": [{"group": "apps"}]}, PODS, False),
        ({"resources": [{"resources": ["pods"]}]}, PODS, True),
        ({"resources": [{"resources": ["pods"]}]}, PODS._replace(subresource="log"), False),
        ({"resources": [{"resources": ["pods/log"]}]}, PODS._replace(subresource="log"), True),
        ({"resources": [{"resources": ["*/log"]}]}, PODS._replace(subresource="log"), True),
        ({"resources": [{"resources": ["pods/*"]}]}, PODS._replace(subresource="log"), True),
        ({"resources": [{"resources": ["*"]}]}, PODS._replace(subresource="log"), True),
        ({"resources": [{"resources": ["pods"], "resourceNames": ["p"]}]}, PODS, True),
        ({"resources": [{"resources": ["pods"], "resourceNames": ["q"]}]}, PODS, False),
        ({"nonResourceURLs": ["/healthz*"]}, PODS, False),
        (
            {"nonResourceURLs": ["/healthz*"]},
            Attributes(JANE, "get", path="/healthz/etcd", is_resource=False),
            True,
        ),
        (
            {"nonResourceURLs": ["/version"]},
            Attributes(JANE, "get", path="/healthz", is_resource=False),
            False,
        ),
        ({"resources": [{"group": ""}]}, Attributes(JANE, "get", path="/healthz", is_resource=False), False),
    ],
)
def test_rules_match_as_in_kubernetes(rule: dict[str, Any], request_: Attributes, matches: bool) -> None:
    parsed = policy.parse(_policy({"level": "Metadata", **rule}))
    assert (parsed.verdict(request_).level == "Metadata") is matches


def test_the_first_rule_decides_and_stages_add_up() -> None:
    parsed = policy.parse(
        _policy(
            {"level": "Request", "verbs": ["get"], "omitStages": ["Panic"], "omitManagedFields": False},
            {"level": "Metadata"},
            omitStages=["RequestReceived"],
            omitManagedFields=True,
        )
    )
    assert parsed.verdict(PODS) == ("Request", {"RequestReceived", "Panic"}, False)
    assert parsed.verdict(PODS._replace(verb="list")) == ("Metadata", {"RequestReceived"}, True)


@pytest.mark.parametrize(
    ("obj", "why"),
    [
        ([], "not a Policy"),
        ({"kind": "Policy"}, "not a Policy"),
        (_policy(), "rules: at least one"),
        (_policy({"level": "All"}), r"rules\[0\].level"),
        (_policy({"level": "None", "user": ["a"]}), r"rules\[0\].user: unknown"),
        (_policy({"level": "None", "users": "a"}), r"rules\[0\].users"),
        (_policy({"level": "None", "nonResourceURLs": ["healthz"]}), "nonResourceURLs"),
        (_policy({"level": "None", "nonResourceURLs": ["/a*b"]}), "nonResourceURLs"),
        (_policy({"level": "None", "nonResourceURLs": ["*"], "namespaces": ["a"]}), "not both"),
        (_policy({"level": "None", "omitStages": ["End"]}), "omitStages"),
        (_policy({"level": "None", "resources": [{"resourceNames": ["a"]}]}), "resourceNames"),
        (_policy({"level": "None", "resources": ["pods"]}), r"resources\[0\]"),
        (_policy({"level": "None"}, omitManagedFields="yes"), "omitManagedFields"),
    ],
)
def test_a_wrong_policy_is_refused_with_its_field(tmp_path: Path, obj: Any, why: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump(obj))
    with pytest.raises(ConfigurationError, match=why):
        policy.load(path)


def test_a_policy_that_cannot_be_read_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        policy.load(tmp_path / "none")
    path = tmp_path / "policy.yaml"
    path.write_text("a: [")
    with pytest.raises(ConfigurationError, match="not YAML"):
        policy.load(path)


# -- a server


@contextlib.asynccontextmanager
async def _audited(directory: Path, *rules: dict[str, Any], **options: Any) -> AsyncIterator[Any]:
    (directory / "policy.yaml").write_text(yaml.safe_dump(_policy(*rules, **options)))
    (directory / "tokens.csv").write_text('SECRET-TOKEN,admin,1,"system:masters"\nJ,jane,2,\n')
    server = ApiServer(
        ApiServerConfig(
            data_dir=directory / "data",
            token_auth_file=directory / "tokens.csv",
            serving=ServingSettings(port=0, shutdown_grace=0.5),
            storage=StorageSettings(backend="memory"),
            audit=AuditSettings(directory / "policy.yaml", log_path=str(directory / "log" / "audit.log")),
        )
    )
    await server.start()
    assert server.pki is not None
    tls = ssl.create_default_context(cadata=server.pki.ca.certificate.decode())
    try:
        connector = aiohttp.TCPConnector(ssl=tls)
        async with aiohttp.ClientSession(server.url, connector=connector, headers=ADMIN) as client:
            yield server, client
        await asyncio.sleep(0)
    finally:
        await server.stop()


def _events(directory: Path) -> list[dict[str, Any]]:
    lines = (directory / "log" / "audit.log").read_bytes().splitlines()
    return [orjson.loads(line) for line in lines]


async def _ask(client: aiohttp.ClientSession, method: str, path: str, **options: Any) -> int:
    async with client.request(method, path, **options) as answer:
        await answer.read()
        return answer.status


async def test_metadata_says_who_did_what_and_what_came_of_it(tmp_path: Path) -> None:
    async with _audited(tmp_path, {"level": "Metadata"}) as (_, client):
        headers = {"Audit-Id": "my-id", "X-Forwarded-For": "10.0.0.1"}
        async with client.post(
            f"{CORE}/configmaps", json={"metadata": {"name": "a"}}, headers=headers
        ) as made:
            assert (made.status, made.headers["Audit-Id"]) == (201, "my-id")
        assert await _ask(client, "GET", f"{CORE}/configmaps/b?pretty=1") == 404
        assert await _ask(client, "GET", "/version") == 200
        jane = {"Authorization": "Bearer J"}
        assert await _ask(client, "GET", f"{CORE}/secrets", headers=jane) == 403
        assert await _ask(client, "GET", f"{CORE}/secrets", headers={"Impersonate-User": "jane"}) == 403
        assert await _ask(client, "GET", f"{CORE}/secrets", headers={"Authorization": "Bearer wrong"}) == 401
    log = tmp_path / "log" / "audit.log"
    assert log.stat().st_mode & 0o777 == 0o600
    assert b"SECRET-TOKEN" not in log.read_bytes()
    events = _events(tmp_path)
    received, complete = events[:2]
    assert (received["stage"], complete["stage"]) == ("RequestReceived", "ResponseComplete")
    assert "annotations" not in received
    assert (
        complete.items()
        >= {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": "my-id",
            "requestURI": f"{CORE}/configmaps",
            "verb": "create",
            "user": {"username": "admin", "uid": "1", "groups": ["system:masters", "system:authenticated"]},
            "sourceIPs": ["10.0.0.1", "127.0.0.1"],
            "userAgent": "test/1",
            "objectRef": {
                "resource": "configmaps",
                "namespace": "default",
                "name": "a",
                "apiVersion": "v1",
            },
            "responseStatus": {"metadata": {}, "code": 201},
            "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
        }.items()
    )
    assert "requestObject" not in complete
    by_stage = [event for event in events if event["stage"] == "ResponseComplete"]
    missing, version, forbidden, impersonating = by_stage[1:]
    (unknown,) = [event for event in events if event["stage"] == "ResponseStarted"]
    assert (
        missing["responseStatus"].items() >= {"code": 404, "reason": "NotFound", "status": "Failure"}.items()
    )
    assert (version["requestURI"], version["verb"], "objectRef" in version) == ("/version", "get", False)
    assert forbidden["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert (impersonating["user"]["username"], impersonating["impersonatedUser"]["username"]) == (
        "admin",
        "jane",
    )
    assert impersonating["annotations"]["authorization.k8s.io/decision"] == "forbid"
    why = "Authentication failed, attempted: bearer"
    assert (unknown["user"], unknown["requestURI"]) == ({}, f"{CORE}/secrets")
    assert unknown["responseStatus"] == {"metadata": {}, "message": why, "code": 401}
    assert events[-1] is unknown


async def test_bodies_are_logged_where_the_policy_says_so(tmp_path: Path) -> None:
    rules = (
        {"level": "None", "resources": [{"resources": ["events"]}]},
        {"level": "Metadata", "resources": [{"resources": ["secrets"]}]},
        {"level": "Request", "verbs": ["patch"]},
        {"level": "RequestResponse"},
    )
    options = {"omitStages": ["RequestReceived"], "omitManagedFields": True}
    async with _audited(tmp_path, *rules, **options) as (_, client):
        secret = {"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}}
        assert await _ask(client, "POST", f"{CORE}/secrets", json=secret) == 201
        text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
        yaml_type = {"Content-Type": "application/yaml"}
        assert await _ask(client, "POST", f"{CORE}/configmaps", data=text, headers=yaml_type) == 201
        patch = {"Content-Type": "application/merge-patch+json"}
        assert (
            await _ask(client, "PATCH", f"{CORE}/configmaps/a", data=b'{"data":{"a":"b"}}', headers=patch)
            == 200
        )
        assert await _ask(client, "GET", f"{CORE}/configmaps/a") == 200
        proto = {"Accept": "application/vnd.kubernetes.protobuf"}
        assert await _ask(client, "GET", f"{CORE}/configmaps", headers=proto) == 200
        assert await _ask(client, "POST", f"{CORE}/events", json={}) == 422
    assert b"hunter2" not in (tmp_path / "log" / "audit.log").read_bytes()
    secret_event, created, patched, got, listed = _events(tmp_path)
    assert secret_event["level"] == "Metadata"
    assert created["requestObject"]["metadata"]["name"] == "a"
    assert created["responseObject"]["metadata"]["uid"]
    assert "managedFields" not in created["responseObject"]["metadata"]
    assert patched["requestObject"] == {"data": {"a": "b"}}
    assert "responseObject" not in patched
    assert "requestObject" not in got
    assert got["responseObject"]["data"] == {"a": "b"}
    assert listed["responseObject"]["kind"] == "ConfigMapList"
    assert all("managedFields" not in item["metadata"] for item in listed["responseObject"]["items"])


async def test_watches_have_a_beginning_and_an_end(tmp_path: Path) -> None:
    async with _audited(tmp_path, {"level": "Metadata"}, omitStages=["RequestReceived"]) as (_, client):
        assert await _ask(client, "GET", f"{CORE}/configmaps?watch=1&timeoutSeconds=1") == 200
    started, complete = _events(tmp_path)
    assert (started["stage"], started["verb"]) == ("ResponseStarted", "watch")
    assert (complete["stage"], complete["responseStatus"]["code"]) == ("ResponseComplete", 200)
    assert started["auditID"] == complete["auditID"]


async def test_a_bug_is_a_panic_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _audited(tmp_path, {"level": "Metadata"}, omitStages=["RequestReceived"]) as (server, client):

        def broken(*_: Any, **__: Any) -> Any:
            raise RuntimeError("a bug")

        monkeypatch.setattr(server.pipeline, "answer_now", broken)
        assert await _ask(client, "GET", f"{CORE}/configmaps/a") == 500
    (event,) = _events(tmp_path)
    assert (event["stage"], event["responseStatus"]["code"]) == ("Panic", 500)


async def test_whoever_takes_part_in_a_request_may_annotate_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _audited(tmp_path, {"level": "Metadata"}, omitStages=["RequestReceived"]) as (server, client):
        admission = server.pipeline.core.admission
        validate = admission.validate

        def annotating(request: Any) -> Any:
            annotations.annotate("example.com/seen", request.name)
            annotations.annotate("example.com/seen", "again")
            return validate(request)

        monkeypatch.setattr(admission, "validate", annotating)
        assert await _ask(client, "POST", f"{CORE}/configmaps", json={"metadata": {"name": "a"}}) == 201
    annotations.annotate("example.com/nobody", "listens")
    (event,) = _events(tmp_path)
    assert event["annotations"]["example.com/seen"] == "a"


# -- sinks


async def test_the_file_is_rotated_and_old_ones_go(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    other = tmp_path / "audit-notes.log"
    other.write_text("mine")
    sink = LogFile(str(path), max_bytes=100, max_backups=2)
    for number in range(12):
        sink.write({"number": number, "text": "x" * 30})
    await asyncio.sleep(0)
    backups = sorted(tmp_path.glob("audit-2*.log"))
    assert len(backups) == 2
    kept = b"".join(backup.read_bytes() for backup in backups).splitlines()
    assert [orjson.loads(line)["number"] for line in kept] == [9, 10]
    assert all(backup.stat().st_mode & 0o777 == 0o600 for backup in backups)
    assert path.stat().st_size <= 100
    assert orjson.loads(path.read_bytes().splitlines()[-1])["number"] == 11
    sink.write({"last": True})
    await sink.close()
    await sink.close()
    assert b"last" in path.read_bytes()
    assert other.read_text() == "mine"


def test_a_file_that_cannot_be_opened_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="audit log"):
        LogFile(str(tmp_path / "file" / "audit.log"))


class _Receiver:
    """A server that fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.batches: list[list[int]] = []
        self.closed = False

    async def send(self, body: bytes) -> None:
        if self.failures:
            self.failures -= 1
            raise ResourceUnavailable("not now")
        sent = orjson.loads(body)
        assert (sent["kind"], sent["apiVersion"]) == ("EventList", "audit.k8s.io/v1")
        self.batches.append([event["number"] for event in sent["items"]])

    async def close(self) -> None:
        self.closed = True


@pytest.mark.virtual
async def test_events_go_in_batches_in_their_order() -> None:
    receiver = _Receiver()
    webhook = Webhook(receiver, AuditSettings(webhook_batch_events=3, webhook_batch_wait=10.0))
    webhook.start()
    for number in range(4):
        webhook.write({"number": number})
    await asyncio.sleep(1)
    assert receiver.batches == [[0, 1, 2]]
    await asyncio.sleep(10)
    assert receiver.batches == [[0, 1, 2], [3]]
    webhook.write({"number": 4})
    await webhook.close()
    assert receiver.batches[-1] == [4]
    assert receiver.closed


@pytest.mark.virtual
async def test_what_cannot_be_sent_is_sent_again_and_too_much_is_dropped() -> None:
    receiver = _Receiver(failures=2)
    settings = AuditSettings(webhook_batch_events=2, webhook_buffer=3, webhook_initial_backoff=1.0)
    webhook = Webhook(receiver, settings)
    webhook.start()
    for number in range(5):
        webhook.write({"number": number})
    await asyncio.sleep(60)
    assert receiver.batches == [[0, 1], [2]]
    await webhook.close()
