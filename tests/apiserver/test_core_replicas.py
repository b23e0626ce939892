"""The same body posted again and again: what is remembered of it never changes the answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest

from apiserver.core_support import ADMIN, Cluster, cluster
from coxswain.api.fields import Errors
from coxswain.api.names import GVR, PODS, Object
from coxswain.apiserver.admission.chain import Chain
from coxswain.apiserver.admission.default import default_chain
from coxswain.apiserver.admission.request import Request
from coxswain.apiserver.lookup import Lookup
from coxswain.apiserver.pipeline import Pipeline
from coxswain.apiserver.replicas import parts_of
from coxswain.base import clock
from coxswain.client.interface import Call

LIMIT_RANGES = GVR("", "v1", "limitranges")
QUOTAS = GVR("", "v1", "resourcequotas")


def body(**spec: Any) -> bytes:
    container = {"name": "c", "image": "nginx", "ports": [{"containerPort": 80}]}
    metadata = {"generateName": "web-", "labels": {"app": "web"}}
    return orjson.dumps(
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}}
    )


def without_what_is_its_own(pod: Object) -> Object:
    metadata = {
        name: value
        for name, value in pod["metadata"].items()
        if name not in ("name", "uid", "creationTimestamp", "resourceVersion", "managedFields")
    }
    fields = [{**entry, "time": ""} for entry in pod["metadata"]["managedFields"]]
    return {**pod, "metadata": {**metadata, "managedFields": fields}}


async def created(it: Cluster, data: bytes, **options: Any) -> Object:
    return await it.do("create", PODS, body=data, **options)


@pytest.mark.virtual
async def test_replicas_differ_in_name_uid_and_time_only() -> None:
    async with cluster() as it:
        pods = [await created(it, body()) for _ in range(5)]
        assert len({pod["metadata"]["name"] for pod in pods}) == 5
        assert len({pod["metadata"]["uid"] for pod in pods}) == 5
        assert all(without_what_is_its_own(pod) == without_what_is_its_own(pods[0]) for pod in pods)
        assert all(pod["metadata"]["managedFields"][0]["fieldsV1"] for pod in pods)


@pytest.mark.virtual
async def test_a_body_that_came_twice_is_not_validated_again() -> None:
    async with cluster() as it:
        entry = it.core.registry.get(PODS)
        assert entry is not None
        validated: list[Object] = []

        def counted(obj: Object) -> Errors:
            validated.append(obj)
            return rules.validate_create(obj)

        rules = entry.rules
        entry.rules = replace(rules, validate_create=counted)
        for _ in range(10):
            await created(it, body())
        assert len(validated) == 2


@pytest.mark.virtual
async def test_a_refused_body_is_refused_every_time() -> None:
    async with cluster() as it:
        for _ in range(4):
            answer = await it.call("create", PODS, body=body(restartPolicy="Sometimes"))
            assert answer.code == 422
            assert b"restartPolicy" in answer.body


@pytest.mark.virtual
async def test_admission_is_asked_for_every_replica() -> None:
    async with cluster() as it:
        for _ in range(3):
            await created(it, body())
        limits = [{"type": "Container", "defaultRequest": {"cpu": "250m"}, "max": {"cpu": "1"}}]
        await it.do("create", LIMIT_RANGES, body={"metadata": {"name": "l"}, "spec": {"limits": limits}})
        for _ in range(3):
            pod = await created(it, body())
            assert pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "250m"


@pytest.mark.virtual
async def test_another_manager_or_namespace_gets_its_own() -> None:
    async with cluster() as it:
        await it.do("create", GVR("", "v1", "namespaces"), body={"metadata": {"name": "other"}})
        for _ in range(3):
            await created(it, body(), fieldManager="first")
        second = await created(it, body(), fieldManager="second")
        assert second["metadata"]["managedFields"][0]["manager"] == "second"
        elsewhere = await created(it, body(), fieldManager="first", namespace="other")
        assert elsewhere["metadata"]["namespace"] == "other"


@pytest.mark.virtual
async def test_warnings_are_repeated() -> None:
    async with cluster() as it:
        doubled = orjson.loads(body())
        doubled["spec"]["containers"][0]["env"] = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
        seen = [await _warnings(it.pipeline, orjson.dumps(doubled)) for _ in range(4)]
        assert seen[0]
        assert seen == [seen[0]] * 4


async def _warnings(pipeline: Pipeline, data: bytes) -> list[str]:
    reply = await pipeline.handle(Call("create", PODS, "default", body=data), ADMIN)
    return list(reply.warnings)


@pytest.mark.virtual
async def test_a_dry_run_stores_nothing_however_often() -> None:
    async with cluster() as it:
        for _ in range(4):
            await created(it, body(), dryRun="All")
        listed = await it.do("list", PODS)
        assert listed["items"] == []


# -- twins: what is not even asked again


class Asked:
    """Counts how often the first plugin of the chain is asked about a new pod."""

    def __init__(self, it: Cluster) -> None:
        chain = it.core.admission
        assert isinstance(chain, Chain)
        self.times = 0
        self._plugin = chain.plugins[0]
        self._admit = self._plugin.admit
        self._plugin.admit = self._count  # type: ignore[method-assign]
        chain._forget()

    def _count(self, request: Request) -> Any:
        self.times += request.resource == PODS
        return self._admit(request)


@pytest.mark.virtual
async def test_a_body_that_was_foretold_is_not_put_before_admission_again() -> None:
    async with cluster() as it:
        asked = Asked(it)
        pods = [await created(it, body()) for _ in range(10)]
        assert asked.times == 3
        assert len({pod["metadata"]["name"] for pod in pods}) == 10
        assert len({pod["metadata"]["uid"] for pod in pods}) == 10
        assert all(without_what_is_its_own(pod) == without_what_is_its_own(pods[0]) for pod in pods)
        listed = await it.do("list", PODS)
        assert {pod["metadata"]["name"] for pod in listed["items"]} == {
            pod["metadata"]["name"] for pod in pods
        }


def _times(pod: Object) -> set[str]:
    return {pod["metadata"]["creationTimestamp"], *(one["time"] for one in pod["metadata"]["managedFields"])}


@pytest.mark.virtual
async def test_what_was_foretold_over_a_second_is_not_asked_in_later_ones() -> None:
    async with cluster() as it:
        asked = Asked(it)
        times = []
        for _ in range(6):
            pods = [await created(it, body()) for _ in range(5)]
            assert all(_times(pod) == {clock.timestamp()} for pod in pods)
            assert all(without_what_is_its_own(pod) == without_what_is_its_own(pods[0]) for pod in pods)
            times.append(asked.times)
            await clock.sleep(1.0)
        # Three are made in the first second, two in the second (the body is known by then), none later.
        assert times[1] < 6 and times[1:] == [times[1]] * 5


@pytest.mark.virtual
async def test_a_time_of_the_clients_own_is_never_stamped() -> None:
    async with cluster() as it:
        asked = Asked(it)
        pod = orjson.loads(body())
        own = pod["metadata"]["annotations"] = {"restartedAt": clock.timestamp(), "later": ""}
        for second in range(6):
            own["later"] = clock.timestamp() if second == 3 else own["later"]
            for _ in range(4):
                found = await created(it, orjson.dumps(pod))
                assert found["metadata"]["annotations"] == own
                assert _times(found) == {clock.timestamp()}
            await clock.sleep(1.0)
        assert asked.times < 24


@pytest.mark.virtual
async def test_a_time_that_is_still_to_come_is_never_stamped() -> None:
    async with cluster() as it:
        pod = orjson.loads(body())
        own = pod["metadata"]["annotations"] = {"until": clock.format_time(clock.now() + 3)}
        for _ in range(6):
            for _ in range(4):
                found = await created(it, orjson.dumps(pod))
                assert found["metadata"]["annotations"] == own
                assert _times(found) == {clock.timestamp()}
            await clock.sleep(1.0)


@pytest.mark.virtual
async def test_what_admission_looks_at_may_change_in_any_second() -> None:
    async with cluster() as it:
        limits = {"metadata": {"name": "l"}, "spec": {"limits": []}}
        await it.do("create", LIMIT_RANGES, body=limits)
        for second in range(12):
            if second % 3 == 2:
                amount = {"type": "Container", "defaultRequest": {"cpu": f"{second}m"}, "max": {"cpu": "1"}}
                limits["spec"] = {"limits": [amount]}
                await it.do("update", LIMIT_RANGES, "l", limits)
            for _ in range(second % 5 + 1):
                pod = await created(it, body())
                wanted = (pod["spec"]["containers"][0].get("resources") or {}).get("requests") or {}
                assert wanted == ({"cpu": f"{second - (second + 1) % 3}m"} if second > 1 else {})
                assert _times(pod) == {clock.timestamp()}
            await clock.sleep(1.0)


@pytest.mark.virtual
@pytest.mark.parametrize(
    ("resource", "change"),
    [
        (GVR("", "v1", "namespaces"), {"metadata": {"name": "another"}}),
        (LIMIT_RANGES, {"metadata": {"name": "another"}}),
        (
            QUOTAS,
            {"metadata": {"name": "another"}, "spec": {"hard": {"pods": "50"}}},
        ),
        (
            GVR("scheduling.k8s.io", "v1", "priorityclasses"),
            {"metadata": {"name": "another"}, "value": 7, "globalDefault": True},
        ),
        (
            GVR("node.k8s.io", "v1", "runtimeclasses"),
            {"metadata": {"name": "another"}, "handler": "runc"},
        ),
    ],
)
async def test_whatever_admission_looks_at_has_it_asked_again(resource: GVR, change: Object) -> None:
    async with cluster() as it:
        asked = Asked(it)
        for _ in range(5):
            await created(it, body())
        before = asked.times
        where = {} if resource in (LIMIT_RANGES, QUOTAS) else {"namespace": ""}
        await it.do("create", resource, body=change, **where)
        await created(it, body())
        assert asked.times > before


class Recording:
    """A lookup that notes which resources are asked for."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self.asked: set[GVR] = set()

    def __getattr__(self, name: str) -> Any:
        answer = getattr(self._lookup, name)

        def noting(gvr: GVR, *rest: Any) -> Any:
            self.asked.add(gvr)
            return answer(gvr, *rest)

        return noting


@pytest.mark.virtual
async def test_a_plugin_that_repeats_itself_looks_at_nothing_but_what_it_names() -> None:
    async with cluster() as it:
        resources = {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}
        limits = [{"type": "Container", "default": {"cpu": "1"}}]
        await it.do("create", LIMIT_RANGES, body={"metadata": {"name": "l"}, "spec": {"limits": limits}})
        await it.do("create", GVR("", "v1", "serviceaccounts"), body={"metadata": {"name": "default"}})
        runtime = {"metadata": {"name": "r"}, "handler": "runc"}
        await it.do("create", GVR("node.k8s.io", "v1", "runtimeclasses"), body=runtime, namespace="")
        lookup = Recording(it.core.registry.lookup)
        chain = default_chain(lookup, it.core.authorizer, registry=it.core.registry)  # type: ignore[arg-type]
        container = {"name": "c", "image": "nginx", "resources": resources}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"generateName": "web-", "namespace": "default"},
            "spec": {"containers": [container], "runtimeClassName": "r"},
        }
        request = Request(ADMIN, "CREATE", PODS, namespace="default", object=pod)
        looking = set()
        for plugin in chain.plugins:
            if plugin.handles("CREATE", PODS, ""):
                lookup.asked.clear()
                plugin.admit(request)
                plugin.validate(request)
                assert plugin.repeats(request), plugin.NAME
                assert lookup.asked <= set(plugin.READS), plugin.NAME
                looking |= {plugin.NAME} if lookup.asked else set()
        assert looking == {
            "NamespaceLifecycle",
            "LimitRanger",
            "ServiceAccount",
            "PodSecurity",
            "Priority",
            "RuntimeClass",
            "ResourceQuota",
        }
        await chain.close()


@pytest.mark.virtual
async def test_a_namespace_with_a_quota_is_charged_for_every_pod() -> None:
    async with cluster() as it:
        for _ in range(4):
            await created(it, body())
        quota = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "3"}}, "status": {}}
        await it.do("create", QUOTAS, body=quota)
        stored = {**quota, "status": {"hard": {"pods": "3"}, "used": {"pods": "0"}}}
        await it.do("update", QUOTAS, name="q", subresource="status", body=stored)
        codes = [(await it.call("create", PODS, body=body())).code for _ in range(6)]
        assert codes == [201] * 3 + [403] * 3


@pytest.mark.virtual
async def test_a_terminating_namespace_takes_no_twins() -> None:
    namespaces = GVR("", "v1", "namespaces")
    async with cluster() as it:
        held = {"metadata": {"name": "doomed"}, "spec": {"finalizers": ["kubernetes"]}}
        await it.do("create", namespaces, body=held)
        for _ in range(5):
            await created(it, body(), namespace="doomed")
        await it.do("delete", namespaces, name="doomed")
        assert (await it.call("create", PODS, body=body(), namespace="doomed")).code == 403


@pytest.mark.virtual
async def test_another_user_gets_what_admission_says_to_them() -> None:
    async with cluster() as it:
        asked = Asked(it)
        for _ in range(5):
            await created(it, body())
        before = asked.times
        await it.pipeline.handle(
            Call("create", PODS, "default", body=body()), replace(ADMIN, name="somebody-else")
        )
        assert asked.times == before + 1


@pytest.mark.parametrize(
    ("value", "name", "uid"),
    [
        (b'{"uid":"u-1","name":"web-1"}', "web-1", "u-1"),
        (b'{"labels":{"of":"u-1"},"uid":"u-1","name":"web-1"}', "web-1", "u-1"),
        (b'{"uid":"u-1","name":"web-1","host":"web-1"}', "web-1", "u-1"),
        (b'{"name":"web-1","uid":"u-1"}', "web-1", "u-1"),
    ],
)
def test_only_what_holds_name_and_uid_once_has_twins(value: bytes, name: str, uid: str) -> None:
    parts = parts_of(value, name, uid)
    if value == b'{"uid":"u-1","name":"web-1"}':
        assert parts == (b'{"uid":"', b'","name":"', b'"}')
    else:
        assert parts is None
