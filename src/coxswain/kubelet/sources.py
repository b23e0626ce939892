"""Where a kubelet's objects come from: config maps, secrets and tokens; and static pods from a directory."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from coxswain.api import defaults
from coxswain.api.errors import ApiError, NotFound
from coxswain.api.names import CONFIGMAPS, GVK, GVR, SECRETS, SERVICE_ACCOUNTS, Object
from coxswain.base import clock
from coxswain.client.interface import Client
from coxswain.kubelet.runtime.interface import RuntimeFailure

log = logging.getLogger(__name__)

MIRROR = "kubernetes.io/config.mirror"
HASH = "kubernetes.io/config.hash"
SOURCE = "kubernetes.io/config.source"
_POD = GVK("", "v1", "Pod")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Config maps and secrets of one namespace, as fetched; implements ``env.Sources``."""

    config_maps: dict[str, Object | None]
    secrets: dict[str, Object | None]

    def config_map(self, name: str) -> Object | None:
        return self.config_maps.get(name)

    def secret(self, name: str) -> Object | None:
        return self.secrets.get(name)


class ObjectCache:
    """Config maps and secrets by name, fetched when needed and kept for ``ttl`` seconds."""

    def __init__(self, client: Client, ttl: float) -> None:
        self._client = client
        self._ttl = ttl
        self._found: dict[tuple[GVR, str, str], tuple[float, asyncio.Task[Object | None]]] = {}

    async def snapshot(self, namespace: str, config_maps: Iterable[str], secrets: Iterable[str]) -> Snapshot:
        """All of them at once. Raises ``RuntimeFailure`` when the API server does not answer."""
        maps, hidden = sorted(set(config_maps)), sorted(set(secrets))
        try:
            found = await asyncio.gather(
                *(self._get(CONFIGMAPS, namespace, name) for name in maps),
                *(self._get(SECRETS, namespace, name) for name in hidden),
            )
        except ApiError as error:
            raise RuntimeFailure(
                f"cannot read config maps and secrets: {error}", "CreateContainerConfigError"
            ) from error
        return Snapshot(
            dict(zip(maps, found[: len(maps)], strict=True)),
            dict(zip(hidden, found[len(maps) :], strict=True)),
        )

    async def _get(self, resource: GVR, namespace: str, name: str) -> Object | None:
        key, now = (resource, namespace, name), clock.monotonic()
        held = self._found.get(key)
        if held is None or now - held[0] > self._ttl:
            if len(self._found) > 1000:
                self._found = {k: v for k, v in self._found.items() if now - v[0] <= self._ttl}
            work = asyncio.get_running_loop().create_task(self._fetch(resource, namespace, name))
            held = self._found[key] = (now, work)
        try:
            result = await asyncio.shield(held[1])
        except ApiError:
            self._found.pop(key, None)
            raise
        if result is None:
            self._found.pop(key, None)
        return result

    async def _fetch(self, resource: GVR, namespace: str, name: str) -> Object | None:
        try:
            return await self._client.get(resource, name, namespace)
        except NotFound:
            return None


class TokenCache:
    """Bound service-account tokens, renewed after 80 % of their life or a day."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._tokens: dict[tuple[str, str, int], tuple[float, str]] = {}

    async def token(self, pod: Object, audience: str, seconds: int) -> str:
        """A token of the pod's service account. Raises ``RuntimeFailure``."""
        meta = pod["metadata"]
        key = (meta["uid"], audience, seconds)
        held = self._tokens.get(key)
        if held is not None and clock.now() < held[0]:
            return held[1]
        spec: Object = {
            "expirationSeconds": seconds,
            "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]},
            "audiences": [audience] if audience else [],
        }
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        account = pod["spec"].get("serviceAccountName") or "default"
        try:
            answer = await self._client.create(
                SERVICE_ACCOUNTS, request, meta["namespace"], name=account, subresource="token"
            )
        except ApiError as error:
            raise RuntimeFailure(f"failed to fetch token: {error}", "ContainerCreating") from error
        text = str(answer["status"]["token"])
        life = min(clock.parse_time(answer["status"]["expirationTimestamp"]) - clock.now(), 86400.0 / 0.8)
        self._tokens[key] = (clock.now() + 0.8 * life, text)
        return text

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        for key in [key for key in self._tokens if key[0] == uid]:
            del self._tokens[key]


def read_static_pods(directory: str, node_name: str) -> list[Object]:
    """The pods of all manifests in ``directory``, named ``NAME-NODE``; bad files are logged and left out."""
    found = []
    for entry in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
        path = f"{directory}/{entry}"
        if entry.startswith(".") or not os.path.isfile(path):
            continue
        try:
            with open(path, "rb") as file:
                found.append(static_pod(file.read(), node_name))
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.error("static pod %s cannot be used: %s", path, error)
    return found


def static_pod(manifest: bytes, node_name: str) -> Object:
    """A static pod from its manifest. Raises ``ValueError`` if it is not a pod."""
    import yaml

    digest = hashlib.md5(manifest + node_name.encode(), usedforsecurity=False).hexdigest()
    pod = yaml.safe_load(manifest)
    if not isinstance(pod, dict) or pod.get("kind") != "Pod" or not pod.get("spec"):
        raise ValueError("the manifest is not a Pod")
    meta = pod.setdefault("metadata", {})
    meta["name"] = f"{meta['name']}-{node_name}"
    meta.setdefault("namespace", "default")
    meta["uid"] = digest
    meta["annotations"] = {**(meta.get("annotations") or {}), HASH: digest, SOURCE: "file"}
    pod["spec"]["nodeName"] = node_name
    tolerations = pod["spec"].setdefault("tolerations", [])
    if {"operator": "Exists", "effect": "NoExecute"} not in tolerations:
        tolerations.append({"operator": "Exists", "effect": "NoExecute"})
    defaults.default(pod, _POD)
    pod["status"] = {"phase": "Pending"}
    plain: Object = orjson.loads(orjson.dumps(pod, default=str))
    return plain


def mirror_of(pod: Object, node: Object | None) -> Object:
    """The object that shows a static pod in the API."""
    mirror: Object = orjson.loads(orjson.dumps(pod))
    meta = mirror["metadata"]
    meta["annotations"][MIRROR] = meta["annotations"][HASH]
    meta.pop("uid")
    mirror.pop("status", None)
    if node is not None:
        name, uid = node["metadata"]["name"], node["metadata"]["uid"]
        meta["ownerReferences"] = [
            {"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid, "controller": True}
        ]
    return mirror
