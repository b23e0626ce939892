"""No cache of a function keeps long texts: a bound of entries alone would let clients fill the memory with them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from functools import _lru_cache_wrapper
from pathlib import Path
from typing import Any

from coxswain.api.errors import ApiError
from coxswain.api.names import CONFIGMAPS, GVR, NODES, PODS, Object
from coxswain.apiserver.rest import resolve
from coxswain.apiserver.server import ApiServer
from coxswain.apiserver.settings import ApiServerConfig, ServingSettings, StorageSettings
from coxswain.cli.cluster import ADMIN
from coxswain.client.client import ApiClient
from coxswain.client.inprocess import InProcessTransport

#: Longer than anything that is good for something, and than what a cache may keep.
LONG = 5000
MOST = 4096


def _texts(value: Any, depth: int = 3) -> Iterator[str | bytes]:
    if isinstance(value, str | bytes):
        yield value
    elif isinstance(value, tuple | list | dict) and depth:
        for each in value:
            yield from _texts(each, depth - 1)
        if isinstance(value, dict):
            for each in value.values():
                yield from _texts(each, depth - 1)


def _holding() -> set[str]:
    """Caches of functions that hold a long text of ours."""
    found = set()
    for one in gc.get_objects():
        if isinstance(one, _lru_cache_wrapper):
            for held in gc.get_referents(one):
                entries = [held] if isinstance(held, dict) and held is not one.__dict__ else []
                if any(len(text) > MOST and b"qz" in _bytes(text) for text in _texts(entries)):
                    found.add(f"{one.__module__}.{one.__qualname__}")
    return found


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


def _spoiled(obj: Any, text: str) -> Iterator[Any]:
    """``obj`` with each text in it, one at a time, made long."""
    if isinstance(obj, str):
        yield text
        yield f"{obj}{text}"
    elif isinstance(obj, dict):
        for key, value in obj.items():
            for spoiled in _spoiled(value, text):
                yield {**obj, key: spoiled}
            if isinstance(value, str):
                yield {**{name: each for name, each in obj.items() if name != key}, text: value}
    elif isinstance(obj, list):
        for number, value in enumerate(obj):
            for spoiled in _spoiled(value, text):
                yield [*obj[:number], spoiled, *obj[number + 1 :]]


_LABELS = {"app.kubernetes.io/name": "web"}
_POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "p",
        "generateName": "p-",
        "namespace": "default",
        "labels": _LABELS,
        "annotations": {"example.com/note": "text"},
        "finalizers": ["example.com/one"],
        "creationTimestamp": "2026-11-21T02:34:30Z",
        "managedFields": [{"manager": "m", "operation": "Update", "time": "2026-11-21T02:34:30Z"}],
    },
    "spec": {
        "hostname": "h",
        "nodeName": "n",
        "nodeSelector": _LABELS,
        "schedulerName": "s",
        "serviceAccountName": "a",
        "priorityClassName": "c",
        "tolerations": [{"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}],
        "affinity": {
            "podAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "zone", "labelSelector": {"matchLabels": _LABELS}}
                ]
            }
        },
        "containers": [
            {
                "name": "c",
                "image": "registry.example.com:5000/web:1.0",
                "env": [{"name": "A", "value": "b"}],
                "ports": [{"containerPort": 80, "name": "http", "hostIP": "10.0.0.1"}],
                "resources": {"requests": {"cpu": "100m", "example.com/thing": "1"}},
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "livenessProbe": {"httpGet": {"path": "/", "port": "http", "host": "h"}},
            }
        ],
        "volumes": [{"name": "v", "configMap": {"name": "m"}}],
        "dnsConfig": {"nameservers": ["10.0.0.1"], "searches": ["example.com"]},
    },
}
_OTHERS: tuple[tuple[GVR, Object], ...] = (
    (
        GVR("batch", "v1", "cronjobs"),
        {
            "metadata": {"name": "j", "namespace": "default"},
            "spec": {
                "schedule": "* * * * *",
                "timeZone": "Europe/Berlin",
                "jobTemplate": {
                    "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}
                },
            },
        },
    ),
    (
        GVR("apps", "v1", "deployments"),
        {
            "metadata": {"name": "d", "namespace": "default"},
            "spec": {
                "selector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": _POD["spec"]},
            },
        },
    ),
    (
        NODES,
        {
            "metadata": {"name": "n"},
            "spec": {
                "podCIDR": "10.0.0.0/24",
                "taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}],
            },
            "status": {"capacity": {"cpu": "1"}, "nodeInfo": {"osImage": "x"}},
        },
    ),
    (
        GVR("", "v1", "services"),
        {
            "metadata": {"name": "s", "namespace": "default"},
            "spec": {
                "selector": {"a": "b"},
                "ports": [{"port": 80, "targetPort": "http", "appProtocol": "http"}],
            },
        },
    ),
    (
        GVR("rbac.authorization.k8s.io", "v1", "roles"),
        {
            "metadata": {"name": "r", "namespace": "default"},
            "rules": [{"apiGroups": ["a"], "resources": ["b"], "verbs": ["get"], "resourceNames": ["n"]}],
        },
    ),
    (
        GVR("networking.k8s.io", "v1", "networkpolicies"),
        {
            "metadata": {"name": "n", "namespace": "default"},
            "spec": {
                "podSelector": {"matchLabels": {"a": "b"}},
                "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
            },
        },
    ),
)


async def test_caches_keep_nothing_long(tmp_path: Path) -> None:
    serving, storage = ServingSettings(port=-1), StorageSettings(backend="memory")
    server = ApiServer(
        ApiServerConfig(
            tmp_path, serving=serving, storage=storage, disable_admission_plugins=("ServiceAccount",)
        )
    )
    await server.start()
    client, text = ApiClient(InProcessTransport(server.backend, ADMIN)), "qz" * (LONG // 2)
    try:
        for resource, obj in ((PODS, _POD), *_OTHERS):
            for spoiled in _spoiled(obj, text):
                await _try(client.create(resource, spoiled))
        for option in (
            {"label_selector": f"a={text}"},
            {"label_selector": f"{text} in (b)"},
            {"field_selector": f"metadata.name={text}"},
        ):
            await _try(client.list(CONFIGMAPS, "default", **option))
    finally:
        await server.stop()
    for path in (
        f"/{text}",
        f"/api/v1/pods/{text}",
        f"/api/v1/pods?{text}",
        f"/api/v1/pods?labelSelector={text}",
    ):
        resolve("GET", path.encode())
    assert sorted(_holding()) == []


async def _try(request: Any) -> None:
    try:
        await request
    except ApiError:
        pass
