"""Explain a pod's place: why it runs where it does, why not elsewhere, and what would have to change.

    cox explain pod NAME [-n NAMESPACE]

The cluster is read once from the API server and judged by the scheduler's own plugins; nothing is written.
"""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from coxswain.client.interface import Client


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=("pod", "pods", "po"), help="only pods are scheduled")
    parser.add_argument("name")
    parser.add_argument("-n", "--namespace", default="default")
    parser.add_argument("--kubeconfig", default="", help="the API server (default: $KUBECONFIG)")
    parser.add_argument("--config", default="", help="the scheduler's KubeSchedulerConfiguration")
    parser.add_argument("--limit", type=int, default=5, help="nodes and refusals shown (default 5)")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    from coxswain.scheduler.explain import render

    found = asyncio.run(_explain(args))
    if args.output == "json":
        print(orjson.dumps(asdict(found), option=orjson.OPT_INDENT_2).decode())
    else:
        print(render(found, args.limit))
    return 0


async def _explain(args: argparse.Namespace) -> Any:
    from coxswain.api.names import PODS
    from coxswain.base.errors import ConfigurationError
    from coxswain.cli.component_scheduler import errors_of
    from coxswain.client.connect import connect
    from coxswain.scheduler.configuration import Configuration, load
    from coxswain.scheduler.explain import explain
    from coxswain.scheduler.profiles import build_all

    file = load(args.config) if args.config else Configuration()
    with errors_of(args.config):
        profiles = build_all(file)
    async with await connect(args.kubeconfig) as client:
        pod = await client.get(PODS, args.name, args.namespace)
        case = await snapshot(client)
    name = pod["spec"].get("schedulerName") or "default-scheduler"
    if name not in profiles:
        known = ", ".join(profiles)
        raise ConfigurationError(f"the pod's scheduler is {name!r}; give its --config (known: {known})")
    found = explain(case, pod, profiles[name])
    if not found.node_name:
        found.remedies += [
            f"extender {one.url} may refuse it: it was not asked here" for one in file.extenders
        ]
    return found


async def snapshot(client: Client) -> dict[str, list[dict[str, Any]]]:
    """All that decisions read, as ``cox scheduler evaluate`` takes it."""
    from coxswain.api.names import (
        GVR,
        NAMESPACES,
        NODES,
        PERSISTENT_VOLUME_CLAIMS,
        PERSISTENT_VOLUMES,
        PODS,
        SERVICES,
    )

    storage = "storage.k8s.io"
    wanted = {
        "nodes": NODES,
        "pods": PODS,
        "namespaces": NAMESPACES,
        "services": SERVICES,
        "persistentVolumes": PERSISTENT_VOLUMES,
        "persistentVolumeClaims": PERSISTENT_VOLUME_CLAIMS,
        "storageClasses": GVR(storage, "v1", "storageclasses"),
        "csiNodes": GVR(storage, "v1", "csinodes"),
        "csiDrivers": GVR(storage, "v1", "csidrivers"),
        "csiStorageCapacities": GVR(storage, "v1", "csistoragecapacities"),
        "volumeAttachments": GVR(storage, "v1", "volumeattachments"),
        "podDisruptionBudgets": GVR("policy", "v1", "poddisruptionbudgets"),
    }
    lists = await asyncio.gather(*(client.list(resource) for resource in wanted.values()))
    return {key: [orjson.loads(raw) for raw in found.items] for key, found in zip(wanted, lists, strict=True)}
