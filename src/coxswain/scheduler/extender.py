"""HTTP extenders: other programs that take part in decisions, with kube-scheduler's protocol.

    filter      which of the feasible nodes will do                POST {Pod, Nodes | NodeNames}
    prioritize  0..10 for each, times the extender's weight        POST the same -> [{Host, Score}]
    bind        bind the pod instead of the default binder         POST {PodName, PodNamespace, PodUID, Node}
    preempt     which victims on which nodes will do               POST {Pod, NodeNameToMetaVictims | NodeNameToVictims}

An extender with ``managedResources`` is asked only about pods that ask for one of them. ``nodeCacheCapable`` ones
get names instead of objects. An ``ignorable`` one that fails is left out; another's failure fails the attempt.
Keys are written as Go does without tags, and read whatever their case.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from coxswain.base.errors import CoxswainError
from coxswain.scheduler.configuration import ExtenderConfig

#: Extenders score 0..10, plugins 0..100.
SCALE: Final = 10
#: What is more than this is no score: sums of scores are 64 bits wide.
_MOST: Final = 1 << 31


class ExtenderError(CoxswainError):
    """An extender could not be asked, or said that it failed."""


class Extender:
    """One extender; ``close`` when done."""

    def __init__(self, config: ExtenderConfig) -> None:
        self.config = config
        self.managed = frozenset(name for name, _ in config.managed)
        self._session: Any = None

    def interested(self, resources: Sequence[str]) -> bool:
        """Whether it wants to be asked about a pod that asks for these resources."""
        return not self.managed or not self.managed.isdisjoint(resources)

    async def filter(
        self, pod: Mapping[str, Any], nodes: Mapping[str, Any]
    ) -> tuple[list[str], dict[str, str], dict[str, str]]:
        """(names that will do, why others will not, why some never will). ``nodes``: name -> object."""
        answer = await self._post(self.config.filter, self._arguments(pod, nodes))
        if said := _get(answer, "error"):
            raise ExtenderError(str(said))
        with self._understanding(self.config.filter):
            names = _get(answer, "nodenames")
            if names is None:
                items = _get(_get(answer, "nodes") or {}, "items") or ()
                names = [item["metadata"]["name"] for item in items]
            kept = set(names)
            failed, never = (
                {str(name): str(why) for name, why in (_get(answer, field) or {}).items()}
                for field in ("failednodes", "failedandunresolvablenodes")
            )
        return [name for name in nodes if name in kept], failed, never

    async def prioritize(self, pod: Mapping[str, Any], nodes: Mapping[str, Any]) -> dict[str, int]:
        """Weighted scores by node, on the scale of plugins' totals."""
        answer = await self._post(self.config.prioritize, self._arguments(pod, nodes))
        with self._understanding(self.config.prioritize):
            scores = {str(_get(entry, "host")): int(_get(entry, "score") or 0) for entry in answer or ()}
            if any(abs(score) > _MOST for score in scores.values()):
                raise ValueError
        return {name: score * self.config.weight * SCALE for name, score in scores.items()}

    async def bind(self, namespace: str, name: str, uid: str, node_name: str) -> None:
        """Bind the pod. Raises ``ExtenderError``."""
        arguments = {"PodName": name, "PodNamespace": namespace, "PodUID": uid, "Node": node_name}
        answer = await self._post(self.config.bind, arguments)
        if said := _get(answer or {}, "error"):
            raise ExtenderError(str(said))

    async def preempt(
        self, pod: Mapping[str, Any], victims: Mapping[str, tuple[Sequence[Mapping[str, Any]], int]]
    ) -> dict[str, tuple[list[str], int]]:
        """Of candidates (node -> victims, violations) those that will do, with the uids of their victims."""
        if self.config.node_cache_capable:
            meta = {
                node: {
                    "Pods": [{"UID": victim["metadata"]["uid"]} for victim in pods],
                    "NumPDBViolations": violations,
                }
                for node, (pods, violations) in victims.items()
            }
            arguments: dict[str, Any] = {"Pod": pod, "NodeNameToMetaVictims": meta}
        else:
            whole = {
                node: {"Pods": list(pods), "NumPDBViolations": violations}
                for node, (pods, violations) in victims.items()
            }
            arguments = {"Pod": pod, "NodeNameToVictims": whole}
        answer = await self._post(self.config.preempt, arguments)
        with self._understanding(self.config.preempt):
            found = _get(answer, "nodenametometavictims") or {}
            return {
                node: (
                    [str(_get(one, "uid")) for one in _get(entry, "pods") or ()],
                    int(_get(entry, "numpdbviolations") or 0),
                )
                for node, entry in found.items()
            }

    @contextmanager
    def _understanding(self, verb: str) -> Iterator[None]:
        """What stumbles over an answer in here, stumbles over an extender that does not say what it should."""
        try:
            yield
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
            raise ExtenderError(f"extender at URL {self._url(verb)}: its answer makes no sense") from None

    def _url(self, verb: str) -> str:
        return f"{self.config.url.rstrip('/')}/{verb}"

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _arguments(self, pod: Mapping[str, Any], nodes: Mapping[str, Any]) -> dict[str, Any]:
        if self.config.node_cache_capable:
            return {"Pod": pod, "Nodes": None, "NodeNames": list(nodes)}
        items = list(nodes.values())
        return {"Pod": pod, "Nodes": {"metadata": {}, "items": items}, "NodeNames": None}

    async def _post(self, verb: str, arguments: Mapping[str, Any]) -> Any:
        import aiohttp
        import orjson

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self.config.timeout)
            connector = aiohttp.TCPConnector(ssl=self._tls())
            self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)
        url = self._url(verb)
        try:
            async with self._session.post(
                url, data=orjson.dumps(arguments), headers={"Content-Type": "application/json"}
            ) as response:
                body = await response.read()
                if response.status != 200:
                    raise ExtenderError(f"failed {verb} with extender at URL {url}, code {response.status}")
                return orjson.loads(body)
        except TimeoutError:
            why = f"no answer within {self.config.timeout:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            why = str(error) or type(error).__name__
        raise ExtenderError(f"extender at URL {url}: {why}")

    def _tls(self) -> ssl.SSLContext | bool:
        tls = self.config.tls
        if not (self.config.https or self.config.url.startswith("https:")):
            return True
        context = ssl.create_default_context(cafile=tls.get("caFile") or None)
        if tls.get("certFile"):
            context.load_cert_chain(tls["certFile"], tls.get("keyFile"))
        if tls.get("insecure"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _get(found: Any, name: str) -> Any:
    """A field whatever its case, as Go reads JSON."""
    if not isinstance(found, dict):
        raise ExtenderError("an object is expected in its answer")
    return next((value for key, value in found.items() if key.lower() == name), None)
