"""What the controllers do in large, and what every process pays for it.

    python -m benchmarks.end_to_end.controllers [deployments rolling namespace slices restart] [--output json]

deployments   1,000 Deployments of 10 replicas applied at once, until every replica is available
rolling       a Deployment of 5,000 gets another image, at 25 % surge and unavailable
namespace     a namespace with 20,000 objects is deleted
slices        pods of a service with 10,000 endpoints stop being ready: how many slices are written for how many
restart       the controller manager starts anew in a cluster of 100,000 pods: until it knows all and is idle

Real processes with hollow nodes and the durable store (``fleet.py``). Each asserts that the work was done right:
counts of what exists and of what was written, and for the rolling update that at every single change of a pod
enough of them were available and not too many existed. ``--scale 0.1`` makes everything smaller.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.end_to_end.fleet import MANAGER, Fleet, fleet
from benchmarks.end_to_end.following import follow
from coxswain.api.names import (
    CONFIGMAPS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    GVR,
    LEASES,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    SECRETS,
    SERVICES,
    Object,
)
from coxswain.client.client import create_call, patch_call
from coxswain.client.informer import Informer
from coxswain.client.interface import Call

PATIENCE = 600.0
Result = dict[str, Any]


def deployment(name: str, replicas: int, namespace: str = "default") -> Object:
    labels = {"app": name}
    container = {
        "name": "app",
        "image": "registry.example/app:1",
        "ports": [{"containerPort": 8080, "name": "http"}],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
            },
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def service(name: str, namespace: str = "default") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": "http"}]},
    }


async def send(cluster: Fleet, calls: Sequence[Call]) -> None:
    """All ``calls``, in batches. Raises ``ApiError`` of the first that fails."""
    for start in range(0, len(calls), 500):
        for answer in await cluster.client.batch(calls[start : start + 500]):
            answer.object()


async def count(cluster: Fleet, resource: GVR, namespace: str = "default") -> int:
    return len((await cluster.client.list(resource, namespace)).items)


async def available(cluster: Fleet, names: Sequence[str], replicas: int) -> None:
    """Return when every one of the Deployments is complete."""
    wanted = set(names)
    done = asyncio.Event()
    informer = Informer(cluster.client, DEPLOYMENTS, "default")

    def seen(obj: Object) -> None:
        status = obj.get("status") or {}
        fresh = status.get("observedGeneration") == obj["metadata"]["generation"]
        counts = {status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")}
        if fresh and counts == {replicas}:
            wanted.discard(obj["metadata"]["name"])
            if not wanted:
                done.set()

    informer.add_handler(seen, lambda _, new: seen(new))
    task = asyncio.ensure_future(informer.run())
    try:
        async with asyncio.timeout(PATIENCE):
            await done.wait()
    except TimeoutError:
        raise SystemExit(f"{len(wanted)} Deployments are not available, among them {min(wanted)}") from None
    finally:
        task.cancel()


async def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise SystemExit(f"not done after {PATIENCE:g} s")
        await asyncio.sleep(0.1)


async def deployments(cluster: Fleet, scale: float) -> Result:
    """1,000 Deployments of 10."""
    names = [f"app-{number}" for number in range(max(int(1000 * scale), 1))]
    started = time.monotonic()
    waiting = asyncio.ensure_future(available(cluster, names, 10))
    await send(cluster, [create_call(DEPLOYMENTS, deployment(name, 10)) for name in names])
    applied = time.monotonic() - started
    await waiting
    seconds = time.monotonic() - started
    pods = await follow(cluster.client, "default")
    assert Counter(pods.owner_of(uid).rpartition("-")[0] for uid in pods.ready) == dict.fromkeys(names, 10)
    assert await count(cluster, REPLICA_SETS) == len(names)
    return {"seconds": seconds, "applied after": applied, "pods": len(pods.ready)}


async def rolling(cluster: Fleet, scale: float) -> Result:
    """One Deployment of 5,000 at 25 %."""
    replicas = int(5000 * scale)
    await send(cluster, [create_call(DEPLOYMENTS, deployment("big", replicas))])
    await available(cluster, ["big"], replicas)
    await cluster.settle()
    before, costs = await cluster.writes(), cluster.costs()
    pods = await follow(cluster.client, "default")
    watching = asyncio.ensure_future(pods.run())
    image = {"name": "app", "image": "registry.example/app:2"}
    started = time.monotonic()
    await cluster.client.patch(
        DEPLOYMENTS,
        "big",
        {"spec": {"template": {"spec": {"containers": [image]}}}},
        "default",
        kind="application/strategic-merge-patch+json",
    )
    await available(cluster, ["big"], replicas)
    seconds = time.monotonic() - started
    spent = _spent(cluster, costs)
    await cluster.settle()
    watching.cancel()
    written = await cluster.writes() - before
    assert len(pods.ready) == len(pods.known) == replicas, (len(pods.ready), len(pods.known))
    assert len({pods.owner_of(uid) for uid in pods.ready}) == 1
    assert pods.fewest_ready >= replicas - replicas // 4, f"only {pods.fewest_ready} were available"
    assert pods.most_active <= replicas + -(-replicas // 4), f"there were {pods.most_active} at a time"
    assert written["create", "pods", ""] == replicas, f"written: {dict(written)}"
    return {"seconds": seconds, "fewest available": pods.fewest_ready, "most": pods.most_active, **spent}


async def namespace(cluster: Fleet, scale: float) -> Result:
    """20,000 objects of several kinds."""
    space = "doomed"
    meta = {"name": space}
    await send(
        cluster, [create_call(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})]
    )
    await cluster.settle()
    await send(cluster, _contents(space, scale))
    names = [f"app-{number}" for number in range(int(500 * scale))]
    pods = await follow(cluster.client, space)
    watching = asyncio.ensure_future(pods.run())
    await _until(lambda: len(pods.ready) >= 10 * len(names))
    watching.cancel()
    await cluster.settle()
    kinds = (CONFIGMAPS, SECRETS, SERVICES, PODS, REPLICA_SETS, DEPLOYMENTS, LEASES, ENDPOINT_SLICES)
    held = {kind.resource: await count(cluster, kind, space) for kind in kinds}
    costs, before = cluster.costs(), await cluster.writes()
    gone = asyncio.ensure_future(_gone(cluster, space))
    started = time.monotonic()
    await cluster.client.delete(NAMESPACES, space)
    await gone
    seconds = time.monotonic() - started
    spent = _spent(cluster, costs)
    assert not [kind for kind in kinds if await count(cluster, kind, space)]
    written = await cluster.writes() - before
    assert not written["create", "pods", ""], "pods were made while the namespace went"
    return {"seconds": seconds, "objects": sum(held.values()), **held, **spent}


def _contents(space: str, scale: float) -> list[Call]:
    def plain(kind: str, number: int, **rest: Any) -> Object:
        api = "coordination.k8s.io/v1" if kind == "Lease" else "v1"
        return {
            "apiVersion": api,
            "kind": kind,
            "metadata": {"name": f"x{number}", "namespace": space},
            **rest,
        }

    def some(total: int) -> range:
        return range(int(total * scale))

    calls = [create_call(CONFIGMAPS, plain("ConfigMap", n, data={"key": f"value {n}"})) for n in some(8000)]
    calls += [create_call(SECRETS, plain("Secret", n, stringData={"key": f"{n}"})) for n in some(4000)]
    calls += [create_call(LEASES, plain("Lease", n, spec={"holderIdentity": "me"})) for n in some(1000)]
    calls += [create_call(SERVICES, service(f"app-{n}", space)) for n in some(500)]
    calls += [create_call(DEPLOYMENTS, deployment(f"app-{n}", 10, space)) for n in some(500)]
    return calls


async def _gone(cluster: Fleet, name: str) -> None:
    informer = Informer(cluster.client, NAMESPACES, field_selector=f"metadata.name={name}")
    gone = asyncio.Event()
    informer.add_handler(on_delete=lambda _: gone.set())
    task = asyncio.ensure_future(informer.run())
    async with asyncio.timeout(PATIENCE):
        await gone.wait()
    task.cancel()


async def slices(cluster: Fleet, scale: float) -> Result:
    """A service of 10,000 endpoints: one pod, then fifty, stop being ready."""
    replicas = int(10_000 * scale)
    await send(cluster, [create_call(SERVICES, service("wide"))])
    started = time.monotonic()
    await send(cluster, [create_call(DEPLOYMENTS, deployment("wide", replicas))])
    await available(cluster, ["wide"], replicas)
    up = time.monotonic() - started
    await cluster.settle()
    result: Result = {"seconds until available": up}
    assert await _endpoints(cluster) == Counter(ready=replicas)
    made = await cluster.writes()
    result["slices"] = await count(cluster, ENDPOINT_SLICES)
    result["slice writes until available"] = sum(
        number for (_, resource, _), number in made.items() if resource == "endpointslices"
    )
    pods = await follow(cluster.client, "default")
    names = sorted(pods.names.values())
    for changed in (names[:1], names[1:51]):
        before, costs = await cluster.writes(), cluster.costs()
        started = time.monotonic()
        await send(cluster, [_unready(pod) for pod in changed])
        expected = (await _endpoints(cluster))["unready"]
        while expected < int(changed[0] != names[0]) + len(changed):
            expected = (await _endpoints(cluster))["unready"]
        seconds = time.monotonic() - started
        await cluster.settle()
        written = await cluster.writes() - before
        wrote = written["update", "endpointslices", ""]
        assert 1 <= wrote <= len(changed), written
        assert not written["create", "endpointslices", ""] + written["delete", "endpointslices", ""], written
        what = f"{len(changed)} changed"
        result |= {f"{what}: slices written": wrote, f"{what}: seconds": seconds}
        result |= {
            f"{what}: {name}": value for name, value in _spent(cluster, costs).items() if MANAGER in name
        }
    return result


def _unready(name: str) -> Call:
    conditions = [{"type": kind, "status": "False"} for kind in ("ContainersReady", "Ready")]
    kind = "application/strategic-merge-patch+json"
    return patch_call(PODS, name, {"status": {"conditions": conditions}}, "default", kind, "status")


async def _endpoints(cluster: Fleet) -> Counter[str]:
    found: Counter[str] = Counter()
    for raw in (await cluster.client.list(ENDPOINT_SLICES, "default")).items:
        for endpoint in json.loads(raw).get("endpoints") or ():
            found["ready" if endpoint["conditions"]["ready"] else "unready"] += bool(
                endpoint.get("targetRef")
            )
    return +found


async def restart(cluster: Fleet, scale: float) -> Result:
    """1,000 Deployments of 100, 200 services: 100,000 pods."""
    names = [f"app-{number}" for number in range(max(int(1000 * scale), 1))]
    result: Result = {}
    if await count(cluster, PODS) < 100 * len(names):  # a kept directory may have them already
        started = time.monotonic()
        await send(cluster, [create_call(SERVICES, service(name)) for name in names[::5]])
        await send(cluster, [create_call(DEPLOYMENTS, deployment(name, 100)) for name in names])
        await available(cluster, names, 100)
        filled = {f"filling: {name}": value for name, value in _spent(cluster, {}).items()}
        result = {"seconds to fill": time.monotonic() - started, **filled}
    await cluster.settle(quiet=5.0)
    return result | await restarted(cluster, 100 * len(names))


async def restarted(cluster: Fleet, pods: int) -> Result:
    """Stop the controller manager, start it, and wait until it is idle."""
    cluster.stop(MANAGER)
    await cluster.settle()
    before, costs = await cluster.writes(), cluster.costs()
    started = time.monotonic()
    cluster.start_manager()
    while not await cluster.manager_idle():
        assert time.monotonic() - started < PATIENCE, "the controller manager is not idle"
        await asyncio.sleep(0.2)
    seconds = time.monotonic() - started
    spent = _spent(cluster, costs)
    await asyncio.sleep(10.0)
    written = await cluster.writes() - before
    assert not written, f"the restarted manager wrote: {dict(written)}"
    assert await count(cluster, PODS) == pods
    return {"pods": pods, "seconds": seconds, "writes": written.total(), **spent}


def _spent(cluster: Fleet, before: dict[str, Any]) -> Result:
    result: Result = {}
    for name, cost in cluster.costs().items():
        earlier = before[name].cpu if name in before else 0.0
        result |= {f"{name} CPU s": cost.cpu - earlier, f"{name} MiB": cost.memory}
    return result


@dataclass(frozen=True)
class Measure:
    """A measure by its name, and how many nodes it needs."""

    run: Any
    nodes: int


MEASURES = {
    "deployments": Measure(deployments, 1000),
    "rolling": Measure(rolling, 1000),
    "namespace": Measure(namespace, 500),
    "slices": Measure(slices, 1000),
    "restart": Measure(restart, 1000),
}


@contextmanager
def _directory(keep: str) -> Iterator[Path]:
    if keep:
        Path(keep).mkdir(parents=True, exist_ok=True)
        yield Path(keep)
    else:
        with tempfile.TemporaryDirectory() as found:
            yield Path(found)


async def run(name: str, args: argparse.Namespace) -> Result:
    measure = MEASURES[name]
    nodes = args.nodes or max(int(measure.nodes * args.scale), 1)
    with _directory(args.directory) as directory:
        async with fleet(directory, nodes, args.port) as cluster:
            costs = cluster.costs()
            result: Result = await measure.run(cluster, args.scale)
            return result if f"{MANAGER} CPU s" in result else result | _spent(cluster, costs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("measures", nargs="*", choices=[*MEASURES, []], help="default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="of objects and nodes")
    parser.add_argument("--nodes", type=int, default=0, help="default: as the measure needs")
    parser.add_argument("--port", type=int, default=21600, help="the first of fifty ports")
    parser.add_argument("--directory", default="", help="keep data and logs there")
    parser.add_argument("--output", choices=("text", "json"), default="text")
    args = parser.parse_args()
    for name in args.measures or MEASURES:
        found = {key: round(value, 2) for key, value in asyncio.run(run(name, args)).items()}
        if args.output == "json":
            print(json.dumps({"measure": name, **found}), flush=True)
        else:
            print(name, *(f"  {key}: {value}" for key, value in found.items()), sep="\n", flush=True)


if __name__ == "__main__":
    main()
