"""A server that remembers what it made of a body answers as one that works everything out anew."""

from __future__ import annotations

import random
import re
from typing import Any

import orjson
import pytest

from apiserver.core_support import ADMIN, Cluster, cluster
from coxswain.api import errors
from coxswain.api.names import GVR, NAMESPACES, PODS, Object
from coxswain.apiserver.admission.chain import Chain
from coxswain.apiserver.replicas import Twin
from coxswain.apiserver.request import Context, Core, Reply, Write
from coxswain.apiserver.verbs import writing
from coxswain.base import clock
from coxswain.client.interface import Call, UserInfo

ACCOUNTS = GVR("", "v1", "serviceaccounts")
LIMITS = GVR("", "v1", "limitranges")
QUOTAS = GVR("", "v1", "resourcequotas")
CLASSES = GVR("scheduling.k8s.io", "v1", "priorityclasses")
RUNTIMES = GVR("node.k8s.io", "v1", "runtimeclasses")
NODE = UserInfo("system:node:n", ("system:nodes", "system:authenticated"))
OTHER = UserInfo("other", ("system:masters",))


def pod(**spec: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "web-", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "nginx"}], **spec},
    }


#: (resource, body), each made over and over.
BODIES: list[tuple[GVR, Object]] = [
    (PODS, pod()),
    (PODS, pod(priorityClassName="high")),
    (PODS, pod(runtimeClassName="slow")),
    (PODS, pod(hostNetwork=True)),
    (PODS, pod(nodeName="n")),
    (PODS, pod(serviceAccountName="robot", restartPolicy="Never")),
    (PODS, pod(containers=[{"name": "c", "image": "nginx", "env": [{"name": "A"}, {"name": "A"}]}])),
    (PODS, pod(restartPolicy="Sometimes")),
    (GVR("", "v1", "configmaps"), {"metadata": {"generateName": "c-"}, "data": {"a": "b"}}),
    (GVR("", "v1", "services"), {"metadata": {"generateName": "s-"}, "spec": {"ports": [{"port": 80}]}}),
    (
        GVR("batch", "v1", "jobs"),
        {"metadata": {"generateName": "j-"}, "spec": {"template": pod(restartPolicy="Never")}},
    ),
    (
        GVR("", "v1", "persistentvolumeclaims"),
        {
            "metadata": {"generateName": "v-"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        },
    ),
]
_CONTAINER = {"type": "Container", "defaultRequest": {"cpu": "250m"}, "max": {"cpu": "1"}}
#: (resource, body): what admission looks at; there or not there.
CIRCUMSTANCES: list[tuple[GVR, Object]] = [
    (ACCOUNTS, {"metadata": {"name": "default"}}),
    (ACCOUNTS, {"metadata": {"name": "robot"}, "automountServiceAccountToken": False}),
    (LIMITS, {"metadata": {"name": "l"}, "spec": {"limits": [_CONTAINER]}}),
    (QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": {"count/configmaps": "3", "pods": "9"}}}),
    (CLASSES, {"metadata": {"name": "high"}, "value": 100}),
    (CLASSES, {"metadata": {"name": "usual"}, "value": 7, "globalDefault": True}),
    (RUNTIMES, {"metadata": {"name": "slow"}, "handler": "h", "overhead": {"podFixed": {"cpu": "100m"}}}),
]
_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
LEVELS = ({}, {}, {}, {"warn": "restricted"}, {"enforce": "baseline"}, {"enforce": "restricted"})


class Pair:
    """Two servers, of which the second never remembers a twin."""

    def __init__(self, one: Cluster, other: Cluster) -> None:
        self.both = (one, other)
        assert isinstance(other.core.admission, Chain)
        other.core.admission.repeats = lambda request: False  # type: ignore[method-assign]

    async def say(self, call: Call, user: UserInfo = ADMIN) -> tuple[int, str, list[str]]:
        """One request to both, whose answers must not differ; the answer."""
        answers = [await _answer(server, call, user) for server in self.both]
        assert answers[0] == answers[1], call
        return answers[0]


async def _answer(server: Cluster, call: Call, user: UserInfo) -> tuple[int, str, list[str]]:
    try:
        reply = await server.pipeline.handle(call, user)
    except errors.ApiError as error:
        return error.code, str(error.status().get("reason")), []
    assert isinstance(reply, Reply)
    warnings = list(reply.warnings) if call.verb == "create" else []  # other warnings name pods
    return reply.code, _alike(orjson.loads(reply.body)), warnings


def _alike(answer: Object) -> str:
    """An answer without what is random or counted."""
    metadata = answer.get("metadata") or {}
    text = orjson.dumps(answer, option=orjson.OPT_SORT_KEYS).decode()
    if metadata.get("generateName"):
        text = text.replace(metadata["name"], "<name>")
    text = _UID.sub("<uid>", text)
    if metadata.get("resourceVersion"):
        text = text.replace(f'"{metadata["resourceVersion"]}"', "<version>")
    spec = answer.get("spec") or {}
    for volume in spec.get("volumes") or ():
        text = text.replace(volume["name"], "<volume>")
    for address in spec.get("clusterIPs") or ():
        text = text.replace(address, "<address>")
    return text


async def _change(it: Pair, rng: random.Random, there: set[int]) -> None:
    if rng.random() < 0.2:
        level = rng.choice(LEVELS)
        marks = {f"pod-security.kubernetes.io/{mode}": level.get(mode) for mode in ("enforce", "warn")}
        body = orjson.dumps({"metadata": {"labels": {"a": "b", **marks}}})
        patch = Call(
            "patch", NAMESPACES, "", "default", body=body, content_type="application/merge-patch+json"
        )
        await it.say(patch)
        return
    number = rng.randrange(len(CIRCUMSTANCES))
    resource, body = CIRCUMSTANCES[number]
    namespace = "" if resource in (CLASSES, RUNTIMES) else "default"
    if number in there:
        there.discard(number)
        await it.say(Call("delete", resource, namespace, body["metadata"]["name"]))
    else:
        there.add(number)
        code, *_ = await it.say(Call("create", resource, namespace, body=orjson.dumps(body)))
        assert code == 201


async def _live(seed: int) -> None:
    """Create the same few bodies again and again while the circumstances change."""
    rng = random.Random(seed)
    there = {0}
    async with cluster(disable=()) as one, cluster(disable=()) as other:
        it = Pair(one, other)
        await it.say(Call("create", ACCOUNTS, "default", body=orjson.dumps(CIRCUMSTANCES[0][1])))
        bodies = [BODIES[0], *rng.sample(BODIES[1:], 2)]
        for _ in range(60):
            if rng.random() < 0.5:
                await _change(it, rng, there)
            if rng.random() < 0.2:
                await clock.sleep(1.0)
            resource, body = rng.choice(bodies)
            user = rng.choice((ADMIN, ADMIN, ADMIN, OTHER, NODE))
            for _ in range(rng.randrange(2, 6)):
                await it.say(Call("create", resource, "default", body=orjson.dumps(body)), user)


@pytest.mark.virtual
async def test_what_is_remembered_never_changes_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    twins: list[Twin] = []

    def noted(core: Core, ctx: Context, twin: Twin, *more: int) -> Write:
        twins.append(twin)
        return begin_twin(core, ctx, twin, *more)

    begin_twin = writing.begin_twin
    monkeypatch.setattr(writing, "begin_twin", noted)
    for seed in range(8):
        await _live(seed)
    assert len(twins) > 40
