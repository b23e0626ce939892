"""One round of everything: objects of every kind with names of their own, watched, changed, used and deleted.

``Rounds.one`` leaves nothing behind in the API; ``deserted`` says whether that is so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson

from coxswain.api.errors import ApiError
from coxswain.api.names import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CONFIGMAPS,
    CRON_JOBS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DAEMON_SETS,
    DEPLOYMENTS,
    EVENTS,
    GVR,
    JOBS,
    LEASES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    REPLICATION_CONTROLLERS,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    STATEFUL_SETS,
    SUBJECT_ACCESS_REVIEWS,
    Object,
)
from coxswain.base import clock
from coxswain.cli.cluster import ADMIN
from coxswain.client.interface import APPLY_PATCH, Call, Client, UserInfo

QUOTAS = GVR("", "v1", "resourcequotas")
LIMITS = GVR("", "v1", "limitranges")
BUDGETS = GVR("policy", "v1", "poddisruptionbudgets")
CLASSES = GVR("scheduling.k8s.io", "v1", "priorityclasses")
INGRESSES = GVR("networking.k8s.io", "v1", "ingresses")
POLICIES = GVR("networking.k8s.io", "v1", "networkpolicies")
SCALERS = GVR("autoscaling", "v2", "horizontalpodautoscalers")
STORAGE_CLASSES = GVR("storage.k8s.io", "v1", "storageclasses")
REQUESTS = GVR("certificates.k8s.io", "v1", "certificatesigningrequests")
VALIDATING = GVR("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies")

#: Seconds of a round: controllers work, pods run, and what was deleted goes.
_WORK, _END = 12.0, 45.0


def _pod(labels: dict[str, str], **spec: Any) -> Object:
    container = {"name": "c", "image": "image:1", "resources": {"requests": {"cpu": "10m"}}}
    return {
        "metadata": {"labels": labels},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0, **spec},
    }


def in_namespace(n: int) -> list[tuple[GVR, Object]]:
    """Objects of round ``n`` that lie in its namespace."""
    app = {"app": f"app-{n}"}
    chosen = {"selector": {"matchLabels": app}}
    several = {"replicas": 2, **chosen, "template": _pod(app)}
    ending = {"template": _pod(app, restartPolicy="Never"), "ttlSecondsAfterFinished": 5}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": f"{n + 1}Mi"}}}
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    subject = [{"kind": "User", "name": f"user-{n}", "apiGroup": "rbac.authorization.k8s.io"}]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "one"}
    backend = {"service": {"name": "one", "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "one"}}
    about = {"kind": "Pod", "namespace": f"ns-{n}", "name": f"gone-{n}", "uid": f"uid-{n}"}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": app},
    }
    return [
        (QUOTAS, {"spec": {"hard": {"pods": "100"}}}),
        (LIMITS, {"spec": {"limits": [{"type": "Container", "default": {"cpu": f"{n + 1}"}}]}}),
        (SERVICE_ACCOUNTS, {}),
        (CONFIGMAPS, {"data": {"n": str(n)}}),
        (SECRETS, {"stringData": {"n": str(n)}}),
        (ROLES, {"rules": [rule]}),
        (ROLE_BINDINGS, {"roleRef": role, "subjects": subject}),
        (LEASES, {"spec": {"holderIdentity": f"holder-{n}"}}),
        (PERSISTENT_VOLUME_CLAIMS, {"spec": {**claim, "storageClassName": f"class-{n}"}}),
        (SERVICES, {"spec": {"type": "NodePort", "selector": app, "ports": [{"port": 80}]}}),
        (BUDGETS, {"spec": {"minAvailable": 1, **chosen}}),
        (INGRESSES, {"spec": {"rules": [{"host": f"host-{n}", "http": {"paths": [path]}}]}}),
        (POLICIES, {"spec": {"podSelector": {"matchLabels": app}}}),
        (DEPLOYMENTS, {"spec": several}),
        (STATEFUL_SETS, {"spec": {**several, "serviceName": "one"}}),
        (DAEMON_SETS, {"spec": {**chosen, "template": _pod(app)}}),
        (REPLICATION_CONTROLLERS, {"spec": {"replicas": 1, "selector": app, "template": _pod(app)}}),
        (JOBS, {"spec": ending}),
        (CRON_JOBS, {"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": ending}}}),
        (PODS, _pod(app, volumes=[volume], priorityClassName=f"class-{n}")),
        (PODS, {**_pod(app, topologySpreadConstraints=[spread]), "metadata": {"name": "two", "labels": app}}),
        (
            PODS,
            {
                **_pod(app, nodeSelector={"never": str(n)}),
                "metadata": {"name": "waits", "labels": {"on": str(n)}},
            },
        ),
        (PODS, {**_pod(app, nodeName=f"node-{n}"), "metadata": {"name": "lost", "labels": app}}),
        (EVENTS, {"involvedObject": about, "reason": "Tested", "type": "Normal"}),
    ]


def of_the_cluster(n: int) -> list[tuple[GVR, Object]]:
    """Objects of round ``n`` without a namespace."""
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"r-{n}"}
    subjects = [{"kind": "User", "name": f"user-{n}", "apiGroup": "rbac.authorization.k8s.io"}]
    rule = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"], "resourceNames": [f"node-{n}"]}
    has = {"cpu": f"{n + 1}", "memory": "16Gi", "pods": "10", "example.com/thing": f"{n}"}
    ready = {"type": "Ready", "status": "True"}
    node = {"status": {"capacity": has, "allocatable": has, "conditions": [ready]}}
    node["metadata"] = {"name": f"node-{n}", "labels": {"kubernetes.io/hostname": f"node-{n}"}}
    node["spec"] = {"taints": [{"key": f"taint-{n}", "value": str(n), "effect": "NoSchedule"}]}
    volume = {
        "capacity": {"storage": f"{n + 1}Mi"},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": f"/tmp/{n}"},
        "storageClassName": f"class-{n}",
    }
    match = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]}
    policy = {
        "matchConstraints": {"resourceRules": [match]},
        "validations": [{"expression": f"object.metadata.name != 'refused-{n}'"}],
    }
    return [
        (CLASSES, {"metadata": {"name": f"class-{n}"}, "value": n + 1}),
        (
            STORAGE_CLASSES,
            {"metadata": {"name": f"class-{n}"}, "provisioner": "kubernetes.io/no-provisioner"},
        ),
        (CLUSTER_ROLES, {"metadata": {"name": f"r-{n}"}, "rules": [rule]}),
        (CLUSTER_ROLE_BINDINGS, {"metadata": {"name": f"r-{n}"}, "roleRef": reference, "subjects": subjects}),
        (PERSISTENT_VOLUMES, {"metadata": {"name": f"volume-{n}"}, "spec": volume}),
        (VALIDATING, {"metadata": {"name": f"policy-{n}"}, "spec": policy}),
        (NODES, node),
    ]


def definition(n: int) -> Object:
    """A custom resource, one of three: of names of resources the metrics forget none."""
    n %= 3
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {}}}}
    schema["properties"]["spec"]["properties"]["n"] = {"type": "integer"}  # type: ignore[index]
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {
        "plural": f"things{n}",
        "singular": f"thing{n}",
        "kind": f"Thing{n}",
        "listKind": f"Thing{n}List",
    }
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": f"things{n}.example.com"}, "spec": spec}


#: Makes a user's client.
ClientOf = Callable[[UserInfo], Client]


class Rounds:
    """Rounds over a cluster, whose users' clients ``client_of`` makes."""

    def __init__(self, client_of: ClientOf) -> None:
        self._admin = client_of(ADMIN)
        self._user = client_of
        #: Answers that no round should get, and how often.
        self.unexpected: dict[str, int] = {}

    async def one(self, n: int) -> None:
        """Create, use and delete everything of round ``n``."""
        space = f"ns-{n}"
        admin = self._admin
        await admin.create(NAMESPACES, {"metadata": {"name": space, "labels": {"round": str(n)}}})
        watching = asyncio.ensure_future(self._watch(space))
        for resource, obj in of_the_cluster(n):
            await self._try(admin.create(resource, obj))
        await self._try(admin.create(CUSTOM_RESOURCE_DEFINITIONS, definition(n)))
        for resource, obj in in_namespace(n):
            named = {"name": "one", **obj.get("metadata", {})}
            await self._try(admin.create(resource, {**obj, "metadata": named}, space))
        await clock.sleep(_WORK)
        await self._use(n, space)
        await clock.sleep(_WORK)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        for resource, obj in of_the_cluster(n):
            await self._try(admin.delete(resource, obj["metadata"]["name"]))
        await self._try(admin.delete(CUSTOM_RESOURCE_DEFINITIONS, definition(n)["metadata"]["name"]))
        await admin.delete(NAMESPACES, space)
        await clock.sleep(_END)

    async def _use(self, n: int, space: str) -> None:
        """Ask as others, change, apply, ask what is not there."""
        admin, someone = self._admin, self._user(UserInfo(f"user-{n}", ("system:authenticated", f"g-{n}")))
        thing = GVR("example.com", "v1", f"things{n % 3}")
        await self._try(admin.create(thing, _thing(n), space))
        applied = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "one"},
            "data": {f"k{n}": "v"},
        }
        await self._try(admin.batch([_apply(applied, space, f"manager-{n}")]))
        await self._try(admin.patch(DEPLOYMENTS, "one", {"spec": {"replicas": 3}}, space))
        await self._try(someone.get(PODS, "waits", space))
        for answer in (someone.get(SECRETS, "one", space), admin.get(PODS, f"no-{n}", space)):
            await self._refused(answer)
        await self._refused(admin.create(PODS, {"metadata": {"name": f"bad-{n}"}, "spec": {}}, space))
        about = {"namespace": space, "verb": "get", "resource": "pods", "name": f"p-{n}"}
        review = {"spec": {"user": f"asked-{n}", "resourceAttributes": about}}
        await self._try(admin.create(SUBJECT_ACCESS_REVIEWS, review))
        token = {"spec": {"audiences": [f"audience-{n}"]}}
        await self._try(admin.create(SERVICE_ACCOUNTS, token, space, name="one", subresource="token"))

    async def _watch(self, space: str) -> None:
        selecting = {"label_selector": f"app={space}", "field_selector": f"spec.nodeName={space}"}
        async with (
            self._admin.watch(PODS, space, resource_version="") as some,
            self._admin.watch(PODS, resource_version="", **selecting),
        ):
            async for _ in some:
                pass

    async def _try(self, answer: Any) -> None:
        try:
            await answer
        except ApiError as error:
            text = f"{error.code} {error}"
            self.unexpected[text] = self.unexpected.get(text, 0) + 1

    async def _refused(self, answer: Any) -> None:
        try:
            await answer
        except ApiError:
            return
        self.unexpected["not refused"] = self.unexpected.get("not refused", 0) + 1


def _apply(obj: Object, space: str, manager: str) -> Call:
    query = {"fieldManager": manager}
    body = orjson.dumps(obj)
    name = obj["metadata"]["name"]
    return Call("patch", CONFIGMAPS, space, name, query=query, body=body, content_type=APPLY_PATCH)


def _thing(n: int) -> Object:
    return {
        "apiVersion": "example.com/v1",
        "kind": f"Thing{n % 3}",
        "metadata": {"name": "one"},
        "spec": {"n": n},
    }
