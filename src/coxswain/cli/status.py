"""Show whether the cluster runs, and how its nodes and pods are. Exit code 1 when it does not run."""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from coxswain.api import meta
from coxswain.api.errors import ApiError
from coxswain.api.names import NODES, PODS
from coxswain.cli.place import Place, default_data_dir


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=Path, default=default_data_dir(), help="the cluster's directory")
    parser.add_argument("--output", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    place = Place(args.data_dir)
    running = place.running()
    if running is None:
        state = "starting" if place.is_running() else "stopped"
        print(
            orjson.dumps({"state": state}).decode()
            if args.output == "json"
            else f"{state} ({place.data_dir})"
        )
        return 1
    facts: dict[str, Any] = {"state": "running", **asdict(running)}
    try:
        facts |= asyncio.run(_counts(running.kubeconfig))
    except ApiError as error:
        facts["state"] = f"not answering: {error}"
    if args.output == "json":
        print(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
    else:
        for name, value in facts.items():
            if value not in ("", {}, 0) or name == "pods":
                print(f"{name:<14}{value}")
    return 0 if facts["state"] == "running" else 1


async def _counts(kubeconfig: str) -> dict[str, Any]:
    from coxswain.client.connect import connect

    async with await connect(kubeconfig, wire="rest") as client:
        nodes = [orjson.loads(raw) for raw in (await client.list(NODES)).items]
        pods = [orjson.loads(raw) for raw in (await client.list(PODS)).items]
    ready = sum(meta.is_condition_true(node, "Ready") for node in nodes)
    return {
        "nodes": f"{ready} of {len(nodes)} ready",
        "pods": dict(Counter(meta.pod_phase(pod) for pod in pods)),
    }
