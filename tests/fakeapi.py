"""An API server in memory, as a ``Transport``: what tests of components talk to.

    api = FakeApi()
    api.add(PODS, {"metadata": {"name": "a", "namespace": "d"}})      # synchronous, seen by watchers
    client = api.client()                                             # an ApiClient over it
    api.object(PODS, "a", "d")["status"]                              # a fresh copy; KeyError when absent
    api.change(PODS, "a", "d", lambda pod: pod["status"].update(phase="Running"))
    api.writes()                                                      # [("create", "pods", "d/a"), ...]

It keeps Kubernetes' rules that components live by: one revision counter, compare-and-swap updates, writes
without a change keep their revision, the spec's generation, the status subresource, finalizers and
propagation policies, graceful deletion of pods that have a node, namespaces that wait for ``finalize``,
bindings, evictions (with ``api.refuse_evictions``), selectors, watches with history, bookmarks, 410 Gone.
It does not validate, default or authorize.

Faults, each counted down as it strikes:

    api.fail("update", PODS, Conflict)           # the next such call fails, nothing is written
    api.lose_answer("create", PODS)              # the next such call is done, but answers Timeout
    api.drop_watches()                           # every watch ends with a connection error
    api.end_watches()                            # every watch ends normally
    api.compact()                                # watches from an older revision get 410
    api.latency = 0.01                           # seconds each call takes on the loop's clock
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from coxswain.api import errors
from coxswain.api.errors import ApiError
from coxswain.api.names import GVR, LEASES, NAMESPACES, NODES, PODS, Object
from coxswain.base import clock
from coxswain.client.interface import (
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_MERGE_PATCH,
    Answer,
    Answers,
    Call,
    RawList,
    WatchEvent,
    WatchStream,
)

Key = tuple[str, str]
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
#: Kinds whose spec changes do not count as generations.
_NO_GENERATION = {"configmaps", "secrets", "events", "leases", "endpoints", "serviceaccounts", "nodes"}


@dataclass
class Change:
    """One entry of the history."""

    revision: int
    type: str
    raw: bytes
    old: bytes | None


@dataclass
class Fault:
    verb: str
    resource: GVR | None
    error: ApiError
    times: int
    after: bool
    name: str = ""
    subresource: str | None = None

    def strikes(self, call: Call) -> bool:
        return (
            self.times > 0
            and self.verb in ("*", call.verb)
            and self.resource in (None, call.resource)
            and self.name in ("", call.name)
            and self.subresource in (None, call.subresource)
        )


@dataclass(eq=False)
class Watcher:
    call: Call
    pending: list[WatchEvent] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False
    error: ApiError | None = None


class FakeApi:
    """See the module's text. Implements ``coxswain.client.interface.Transport``."""

    def __init__(self) -> None:
        self.revision = 1
        self.latency = 0.0
        self.calls: list[Call] = []
        self.closed = False
        self.refuse_evictions = False
        self._objects: dict[GVR, dict[Key, bytes]] = defaultdict(dict)
        self._history: dict[GVR, list[Change]] = defaultdict(list)
        self._compacted = 0
        self._watchers: set[Watcher] = set()
        self._faults: list[Fault] = []
        self._held: dict[GVR, list[tuple[Watcher, Change]]] = {}
        self._continued: dict[str, tuple[list[bytes], int]] = {}

    # ---- what tests use

    def client(self) -> Any:
        """A Client over this server."""
        from coxswain.client.client import ApiClient

        return ApiClient(self)

    def add(self, resource: GVR, obj: Object) -> Object:
        """Create ``obj`` as it is (status too); returns it as stored."""
        obj = orjson.loads(orjson.dumps(obj))
        meta = obj.setdefault("metadata", {})
        if not meta.get("name"):
            meta["name"] = (
                meta.get("generateName", "obj-") + uuid.UUID(int=clock.random().getrandbits(128)).hex[:5]
            )
        meta.setdefault("uid", str(uuid.UUID(int=clock.random().getrandbits(128))))
        meta.setdefault("creationTimestamp", clock.timestamp())
        if resource.resource not in _NO_GENERATION:
            meta.setdefault("generation", 1)
        obj.setdefault("apiVersion", resource.api_version)
        obj.setdefault("kind", _kind(resource))
        if resource == NAMESPACES:
            obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
            obj.setdefault("status", {}).setdefault("phase", "Active")
        key = (meta.get("namespace", ""), meta["name"])
        if key in self._objects[resource]:
            raise errors.already_exists(resource, meta["name"])
        return self._store(resource, key, obj, "ADDED")

    def object(self, resource: GVR, name: str, namespace: str = "") -> Object:
        """A fresh copy. Raises KeyError when there is none."""
        return orjson.loads(self._objects[resource][namespace, name])

    def exists(self, resource: GVR, name: str, namespace: str = "") -> bool:
        return (namespace, name) in self._objects[resource]

    def objects(self, resource: GVR, namespace: str = "") -> list[Object]:
        """Fresh copies in key order."""
        return [
            orjson.loads(raw)
            for key, raw in sorted(self._objects[resource].items())
            if namespace in ("", key[0])
        ]

    def change(self, resource: GVR, name: str, namespace: str, edit: Callable[[Object], Any]) -> Object:
        """Edit any part of a stored object, as if somebody else had; returns it as stored."""
        obj = self.object(resource, name, namespace)
        edit(obj)
        return self._store(resource, (namespace, name), obj, "MODIFIED")

    def remove(self, resource: GVR, name: str, namespace: str = "") -> None:
        """Take an object away at once, whatever its finalizers."""
        self._remove(resource, (namespace, name))

    def writes(self) -> list[tuple[str, str, str]]:
        """(verb, resource[/subresource], namespace/name) of every writing call so far, failed ones too."""
        return [
            (
                call.verb,
                call.resource.resource + (f"/{call.subresource}" if call.subresource else ""),
                f"{call.namespace}/{call.name or _name_in(call.body)}",
            )
            for call in self.calls
            if call.verb not in ("get", "list", "watch")
        ]

    def fail(
        self,
        verb: str = "*",
        resource: GVR | None = None,
        error: type[ApiError] | ApiError = errors.InternalError,
        *,
        times: int = 1,
        name: str = "",
        subresource: str | None = None,
    ) -> None:
        """The next ``times`` matching calls fail with ``error`` and do nothing. Verb ``*``: any."""
        failure = error if isinstance(error, ApiError) else error("injected fault")
        self._faults.append(Fault(verb, resource, failure, times, False, name, subresource))

    def lose_answer(self, verb: str = "*", resource: GVR | None = None, *, times: int = 1) -> None:
        """The next ``times`` matching calls are carried out, but their callers see a time-out."""
        self._faults.append(Fault(verb, resource, errors.Timeout("injected lost answer"), times, True))

    def drop_watches(self) -> None:
        """Every running watch fails, as when the connection is lost."""
        for watcher in list(self._watchers):
            watcher.error = errors.ServiceUnavailable("injected connection loss")
            watcher.ended = True
            watcher.wake.set()

    def hold(self, resource: GVR) -> None:
        """Keep events of ``resource`` from those who watch it until ``let_go``: their caches stand still."""
        self._held[resource] = []

    def let_go(self, resource: GVR) -> None:
        """Deliver what was kept, in order, and what comes from now on."""
        for watcher, change in self._held.pop(resource):
            self._offer(watcher, change)

    def end_watches(self) -> None:
        """Every running watch ends normally, as when the server's time-out passes."""
        for watcher in list(self._watchers):
            watcher.ended = True
            watcher.wake.set()

    def compact(self) -> None:
        """Forget the history: a watch from an earlier revision is Expired."""
        self._compacted = self.revision
        self._history.clear()

    def bookmark(self) -> None:
        """Send a bookmark of the current revision on every watch."""
        for watcher in self._watchers:
            if watcher.call.query.get("allowWatchBookmarks") == "true":
                self._push(watcher, WatchEvent("BOOKMARK", self._bookmark(watcher.call.resource)))

    @property
    def watcher_count(self) -> int:
        return len(self._watchers)

    # ---- Transport

    async def call(self, call: Call) -> Answer:
        self.calls.append(call)
        await self._delay()
        try:
            after = self._strike(call)
            obj = self._perform(call)
            if after is not None:
                raise after
        except errors.Timeout:
            raise
        except ApiError as error:
            return Answer(error.code, orjson.dumps(error.status()))
        return Answer(201 if call.verb == "create" else 200, orjson.dumps(obj))

    async def batch(self, calls: Sequence[Call]) -> Answers:
        answers = []
        for call in calls:
            try:
                answers.append(await self.call(call))
            except ApiError as error:
                answers.append(Answer(error.code, orjson.dumps(error.status())))
        return answers

    async def list(self, call: Call) -> RawList:
        self.calls.append(call)
        await self._delay()
        self._strike(call)
        token = call.query.get("continue", "")
        if token:
            items, revision = self._continued.pop(token)
        else:
            items, revision = self._select(call), self.revision
        limit = int(call.query.get("limit", "0")) or len(items)
        page, rest = items[:limit], items[limit:]
        if rest:
            token = f"c{len(self.calls)}"
            self._continued[token] = (rest, revision)
        return RawList(page, str(revision), token if rest else "", len(rest))

    @asynccontextmanager
    async def watch(self, call: Call) -> Any:
        self.calls.append(call)
        await self._delay()
        self._strike(call)
        watcher = Watcher(call)
        since = call.query.get("resourceVersion", "")
        if since in ("", "0"):
            watcher.pending = [WatchEvent("ADDED", raw) for raw in self._select(call)]
        elif int(since) < self._compacted:
            raise errors.Expired(f"too old resource version: {since} ({self._compacted})")
        else:
            for change in self._history[call.resource]:
                if change.revision > int(since):
                    self._offer(watcher, change)
        self._watchers.add(watcher)
        try:
            yield self._events(watcher)
        finally:
            self._watchers.discard(watcher)

    async def stream(self, call: Call) -> AsyncIterator[bytes]:
        raise errors.method_not_supported(call.resource, "stream")

    async def close(self) -> None:
        self.closed = True

    # ---- inside

    async def _delay(self) -> None:
        await asyncio.sleep(self.latency)

    def _strike(self, call: Call) -> ApiError | None:
        for fault in self._faults:
            if fault.strikes(call):
                fault.times -= 1
                if fault.after:
                    return fault.error
                raise fault.error
        return None

    async def _events(self, watcher: Watcher) -> AsyncIterator[Sequence[WatchEvent]]:
        while True:
            if watcher.pending:
                batch, watcher.pending = watcher.pending, []
                yield batch
                continue
            if watcher.error is not None:
                raise watcher.error
            if watcher.ended:
                return
            watcher.wake.clear()
            await watcher.wake.wait()

    def _push(self, watcher: Watcher, event: WatchEvent) -> None:
        watcher.pending.append(event)
        watcher.wake.set()

    def _bookmark(self, resource: GVR) -> bytes:
        meta = {"resourceVersion": str(self.revision)}
        return orjson.dumps({"kind": _kind(resource), "apiVersion": resource.api_version, "metadata": meta})

    def _offer(self, watcher: Watcher, change: Change) -> None:
        held = self._held.get(watcher.call.resource)
        if held is not None:
            held.append((watcher, change))
            return
        now = _matches(watcher.call, change.raw)
        before = change.old is not None and _matches(watcher.call, change.old)
        if change.type == "DELETED":
            if before or now:
                self._push(watcher, WatchEvent("DELETED", change.raw))
        elif now:
            self._push(watcher, WatchEvent("MODIFIED" if before else "ADDED", change.raw))
        elif before:
            self._push(watcher, WatchEvent("DELETED", change.raw))

    def _record(self, resource: GVR, kind: str, raw: bytes, old: bytes | None) -> None:
        change = Change(self.revision, kind, raw, old)
        self._history[resource].append(change)
        for watcher in self._watchers:
            if watcher.call.resource == resource:
                self._offer(watcher, change)

    def _store(self, resource: GVR, key: Key, obj: Object, kind: str) -> Object:
        old = self._objects[resource].get(key)
        if old is not None:
            stored = orjson.loads(old)
            obj["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"]
            if obj == stored:
                return obj
        self.revision += 1
        obj["metadata"]["resourceVersion"] = str(self.revision)
        raw = orjson.dumps(obj)
        self._objects[resource][key] = raw
        self._record(resource, kind, raw, old)
        return orjson.loads(raw)

    def _remove(self, resource: GVR, key: Key) -> Object:
        old = self._objects[resource].pop(key)
        self.revision += 1
        obj = orjson.loads(old)
        obj["metadata"]["resourceVersion"] = str(self.revision)
        self._record(resource, "DELETED", orjson.dumps(obj), old)
        return obj

    def _select(self, call: Call) -> list[bytes]:
        return [raw for _, raw in sorted(self._objects[call.resource].items()) if _matches(call, raw)]

    def _load(self, call: Call) -> Object:
        raw = self._objects[call.resource].get((call.namespace, call.name))
        if raw is None:
            raise errors.not_found(call.resource, call.name)
        return orjson.loads(raw)

    def _perform(self, call: Call) -> Object:
        return getattr(self, f"_do_{call.verb}")(call)

    def _do_get(self, call: Call) -> Object:
        return self._load(call)

    def _do_create(self, call: Call) -> Object:
        obj = orjson.loads(call.body)
        if call.subresource:
            return self._create_subresource(call, obj)
        if call.namespace:
            obj.setdefault("metadata", {})["namespace"] = call.namespace
            space = self._objects[NAMESPACES].get(("", call.namespace))
            if space is not None and "deletionTimestamp" in orjson.loads(space)["metadata"]:
                name = obj["metadata"].get("name", "")
                why = f"unable to create new content in namespace {call.namespace} because it is being terminated"
                error = errors.forbidden(call.resource, name, why)
                error.details = {**(error.details or {}), "causes": [{"reason": "NamespaceTerminating"}]}
                raise error
        if call.resource == PODS:
            obj.setdefault("status", {}).setdefault("phase", "Pending")
        elif call.resource not in (NODES, LEASES):
            obj.pop("status", None)
        return self.add(call.resource, obj)

    def _create_subresource(self, call: Call, obj: Object) -> Object:
        if call.subresource == "binding":
            pod = self._load(call)
            if pod["spec"].get("nodeName"):
                why = f'pod {call.name} is already assigned to node "{pod["spec"]["nodeName"]}"'
                raise errors.conflict(GVR("", "v1", "pods/binding"), call.name, why)
            pod["spec"]["nodeName"] = obj["target"]["name"]
            self._store(call.resource, (call.namespace, call.name), pod, "MODIFIED")
            return {"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201}
        if call.subresource == "eviction":
            if self.refuse_evictions:
                raise errors.TooManyRequests(
                    "Cannot evict pod as it would violate the pod's disruption budget."
                )
            options = obj.get("deleteOptions") or {}
            self._delete(call, options)
            return {"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201}
        raise errors.not_found(call.resource, f"{call.name}/{call.subresource}")

    def _do_update(self, call: Call) -> Object:
        return self._replace(call, orjson.loads(call.body))

    def _do_patch(self, call: Call) -> Object:
        obj, patch = self._load(call), orjson.loads(call.body)
        wanted = (patch.get("metadata") or {}).get("resourceVersion") if isinstance(patch, dict) else None
        if wanted and wanted != obj["metadata"]["resourceVersion"]:
            raise errors.conflict(call.resource, call.name, errors.MODIFIED)
        return self._replace(call, _patched(obj, patch, call.content_type))

    def _replace(self, call: Call, obj: Object) -> Object:
        stored = self._load(call)
        meta, old = obj["metadata"], stored["metadata"]
        if meta.get("resourceVersion") not in (None, "", old["resourceVersion"]):
            raise errors.conflict(call.resource, call.name, errors.MODIFIED)
        if meta.get("uid") not in (None, old["uid"]):
            why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {old['uid']}"
            raise errors.conflict(call.resource, call.name, why)
        if call.subresource == "status":
            stored["status"] = obj.get("status", {})
            # Kubernetes lets annotations through: the deployment controller writes its revision this way.
            if "annotations" in meta:
                stored["metadata"]["annotations"] = meta["annotations"]
            obj = stored
        elif call.subresource == "scale":
            stored["spec"]["replicas"] = obj["spec"]["replicas"]
            obj = stored
        elif call.subresource == "finalize":
            stored["spec"]["finalizers"] = obj.get("spec", {}).get("finalizers", [])
            obj = stored
        elif "status" in stored:
            obj["status"] = stored["status"]
        for name in (
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
        ):
            if name in old:
                obj["metadata"][name] = old[name]
        before = orjson.loads(self._objects[call.resource][call.namespace, call.name])
        if "generation" in obj["metadata"] and obj.get("spec") != before.get("spec"):
            obj["metadata"]["generation"] += 1
        key = (call.namespace, call.name)
        stored = self._store(call.resource, key, obj, "MODIFIED")
        if self._is_finished(call.resource, stored):
            return self._remove(call.resource, key)
        return stored

    def _is_finished(self, resource: GVR, obj: Object) -> bool:
        meta = obj["metadata"]
        if "deletionTimestamp" not in meta or meta.get("finalizers"):
            return False
        if resource == NAMESPACES:
            return not obj["spec"].get("finalizers")
        return not meta.get("deletionGracePeriodSeconds")

    def _do_delete(self, call: Call) -> Object:
        return self._delete(call, orjson.loads(call.body or b"{}"))

    def _delete(self, call: Call, options: Object) -> Object:
        obj = self._load(call)
        meta = obj["metadata"]
        wanted = options.get("preconditions") or {}
        for field_, label in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
            if wanted.get(field_) not in (None, meta[field_]):
                why = (
                    f"Precondition failed: {label} in precondition: {wanted[field_]}, "
                    f"{label} in object meta: {meta[field_]}"
                )
                raise errors.conflict(call.resource, call.name, why)
        policy = options.get("propagationPolicy")
        finalizers = [f for f in meta.get("finalizers", []) if f not in (FOREGROUND, ORPHAN) or not policy]
        finalizers += {"Foreground": [FOREGROUND], "Orphan": [ORPHAN]}.get(policy or "", [])
        grace = self._grace(call.resource, obj, options)
        key = (call.namespace, call.name)
        if not finalizers and not grace and call.resource != NAMESPACES:
            return self._remove(call.resource, key)
        if finalizers:
            meta["finalizers"] = finalizers
        else:
            meta.pop("finalizers", None)
        already = "deletionTimestamp" in meta
        if not already or grace < meta.get("deletionGracePeriodSeconds", 0):
            meta["deletionTimestamp"] = clock.format_time(clock.now() + grace)
            meta["deletionGracePeriodSeconds"] = grace
        if call.resource == NAMESPACES:
            meta.pop("deletionGracePeriodSeconds", None)
            obj["status"]["phase"] = "Terminating"
        stored = self._store(call.resource, key, obj, "MODIFIED")
        return self._remove(call.resource, key) if self._is_finished(call.resource, stored) else stored

    def _grace(self, resource: GVR, obj: Object, options: Object) -> int:
        if resource != PODS or not obj.get("spec", {}).get("nodeName"):
            return 0
        if obj.get("status", {}).get("phase") in ("Failed", "Succeeded"):
            return 0
        default = obj["spec"].get("terminationGracePeriodSeconds", 30)
        wanted = options.get("gracePeriodSeconds")
        return int(default if wanted is None else wanted)

    def _do_deletecollection(self, call: Call) -> Object:
        options = orjson.loads(call.body or b"{}")
        for raw in self._select(call):
            meta = orjson.loads(raw)["metadata"]
            self._delete(Call("delete", call.resource, meta.get("namespace", ""), meta["name"]), options)
        return {"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 200}


def _name_in(body: bytes) -> str:
    meta = orjson.loads(body or b"{}").get("metadata", {})
    return meta.get("name") or meta.get("generateName", "")


_KINDS = {"endpoints": "Endpoints", "endpointslices": "EndpointSlice", "configmaps": "ConfigMap"}
_KINDS |= {"replicasets": "ReplicaSet", "serviceaccounts": "ServiceAccount", "daemonsets": "DaemonSet"}
_KINDS |= {"statefulsets": "StatefulSet", "cronjobs": "CronJob", "rolebindings": "RoleBinding"}
_KINDS |= {"clusterroles": "ClusterRole", "clusterrolebindings": "ClusterRoleBinding"}
_KINDS |= {"replicationcontrollers": "ReplicationController", "controllerrevisions": "ControllerRevision"}
_KINDS |= {"persistentvolumes": "PersistentVolume", "persistentvolumeclaims": "PersistentVolumeClaim"}
_KINDS |= {"customresourcedefinitions": "CustomResourceDefinition"}


def _kind(resource: GVR) -> str:
    return _KINDS.get(resource.resource) or resource.resource[:-1].capitalize()


def _matches(call: Call, raw: bytes) -> bool:
    obj = orjson.loads(raw)
    meta = obj["metadata"]
    if call.namespace and meta.get("namespace") != call.namespace:
        return False
    if call.verb in ("list", "watch") and call.name and meta["name"] != call.name:
        return False
    return _labels_match(call.query.get("labelSelector", ""), meta.get("labels") or {}) and _fields_match(
        call.query.get("fieldSelector", ""), obj
    )


def _labels_match(selector: str, labels: Mapping[str, str]) -> bool:
    for part in re.findall(r"[^,(]+(?:\([^)]*\))?", selector):
        part = part.strip()
        if found := re.fullmatch(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)", part):
            key, operator, values = found.groups()
            inside = labels.get(key) in {value.strip() for value in values.split(",")}
            if inside != (operator == "in"):
                return False
        elif found := re.fullmatch(r"([^=!\s]+)\s*(==|!=|=)\s*(\S*)", part):
            key, operator, value = found.groups()
            if (labels.get(key) == value) == (operator == "!="):
                return False
        elif (part.lstrip("!") in labels) == part.startswith("!"):
            return False
    return True


def _fields_match(selector: str, obj: Object) -> bool:
    for part in filter(None, selector.split(",")):
        path, operator, wanted = re.fullmatch(r"([^=!]+)(==|!=|=)(.*)", part).groups()  # type: ignore[union-attr]
        value: Any = obj
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if ((value or "") == wanted) == (operator == "!="):
            return False
    return True


def _patched(obj: Object, patch: Any, kind: str) -> Object:
    if kind == MERGE_PATCH:
        return _merge(obj, patch)
    from coxswain.api import patch as patches

    if kind == JSON_PATCH:
        return patches.json_patch(obj, patch)
    assert kind == STRATEGIC_MERGE_PATCH, f"the fake has no {kind}"
    from coxswain.api import schema
    from coxswain.api.names import GVK

    return patches.strategic_merge_patch(obj, patch, schema.type_of(GVK.of(obj)))


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged


__all__ = ["FakeApi", "WatchStream"]
