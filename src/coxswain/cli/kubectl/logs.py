"""Print the log of a container, of all containers of a pod, or of the pods of a workload."""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from coxswain.api import meta
from coxswain.api.errors import ApiError
from coxswain.api.names import PODS, Object
from coxswain.cli.kubectl import flags
from coxswain.cli.kubectl.failures import UsageError
from coxswain.cli.kubectl.flags import parse_args
from coxswain.cli.kubectl.resources import Catalog, Target, items_of
from coxswain.cli.kubectl.session import Session
from coxswain.cli.kubectl.session import run as run_session

__all__ = ["configure", "parse_args", "run"]

_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"
_PHASES = {"Running": 0, "Unknown": 1, "Pending": 2}


@dataclass(frozen=True, slots=True)
class _Source:
    """One container's log; ``prefix`` stands before every line."""

    namespace: str
    pod: str
    container: str
    prefix: str = ""


def configure(parser: argparse.ArgumentParser) -> None:
    flags.connection(parser, "cox logs (POD [CONTAINER] | TYPE/NAME | -l LABELS) [flags]")
    flags.switch(parser, "-f", "--follow", text="go on as the log grows")
    flags.switch(parser, "-p", "--previous", text="of the container that ran before this one")
    parser.add_argument("-c", "--container", default="", help="which container")
    flags.switch(parser, "--all-containers", text="of every container of the pod")
    flags.switch(parser, "--all-pods", text="of every pod of the workload")
    flags.selecting(parser, fields=False)
    parser.add_argument("--tail", type=int, default=None, help="only so many lines from the end")
    parser.add_argument("--since", type=flags.seconds, default=None, help="only what is younger: 5s, 2m, 3h")
    parser.add_argument("--since-time", default="", help="only what is younger than this RFC 3339 time")
    parser.add_argument("--limit-bytes", type=int, default=0, help="at most so many bytes")
    flags.switch(parser, "--timestamps", text="put the time before every line")
    flags.switch(parser, "--prefix", text="put pod and container before every line")
    flags.switch(parser, "--ignore-errors", text="go on with other logs when one fails")
    parser.add_argument("--max-log-requests", type=int, default=5, help="how many logs to follow at most")


def run(args: argparse.Namespace) -> int:
    return run_session(args, lambda session: _main(session, args))


async def _main(session: Session, args: argparse.Namespace) -> int:
    if args.since is not None and args.since_time:
        raise UsageError("at most one of `sinceTime` or `sinceSeconds` may be specified")
    sources = await _sources(session, args)
    if args.follow and len(sources) > args.max_log_requests:
        raise UsageError(
            f"you are attempting to follow {len(sources)} log streams, but maximum allowed concurrency is "
            f"{args.max_log_requests}, use --max-log-requests to increase the limit"
        )
    query = _query(args)
    write = sys.stdout.buffer.write
    if args.follow and len(sources) > 1:
        await asyncio.gather(*(_copy(session, source, query, args, write) for source in sources))
    else:
        for source in sources:
            await _copy(session, source, query, args, write)
    return 0


def _query(args: argparse.Namespace) -> dict[str, str]:
    query: dict[str, str] = {}
    for flag, name in (("follow", "follow"), ("previous", "previous"), ("timestamps", "timestamps")):
        if getattr(args, flag):
            query[name] = "true"
    tail = args.tail if args.tail is not None else 10 if args.selector else -1
    if tail >= 0:
        query["tailLines"] = str(tail)
    if args.since is not None:
        query["sinceSeconds"] = str(max(1, math.ceil(args.since)))
    if args.since_time:
        query["sinceTime"] = args.since_time
    if args.limit_bytes:
        query["limitBytes"] = str(args.limit_bytes)
    return query


async def _copy(
    session: Session,
    source: _Source,
    query: dict[str, str],
    args: argparse.Namespace,
    write: Callable[[bytes], Any],
) -> None:
    query = {**query, "container": source.container}
    try:
        body = await session.stream(PODS, source.namespace, source.pod, "log", query)
        if not source.prefix:
            async for chunk in body:
                write(chunk)
                sys.stdout.buffer.flush()
            return
        rest, prefix = b"", source.prefix.encode()
        async for chunk in body:
            *lines, rest = (rest + chunk).split(b"\n")
            write(b"".join(prefix + line + b"\n" for line in lines))
            sys.stdout.buffer.flush()
        if rest:
            write(prefix + rest + b"\n")
    except ApiError as error:
        if not args.ignore_errors:
            raise
        sys.stderr.write(f"error: {error.message}\n")


# --- whose log --------------------------------------------------------------------------------------------


async def _sources(session: Session, args: argparse.Namespace) -> list[_Source]:
    if args.selector:
        if args.words:
            raise UsageError("only a selector (-l) or a POD name is allowed")
        pods = await _pods(session, session.namespace, args.selector)
        if not pods:
            sys.stderr.write(f"No resources found in {session.namespace} namespace.\n")
    else:
        pods = await _named(session, args)
    several = len(pods) > 1
    return [source for pod in pods for source in _of_pod(pod, args, several)]


async def _named(session: Session, args: argparse.Namespace) -> list[Object]:
    words = list(args.words)
    if not words or len(words) > 2:
        raise UsageError(
            "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument for the logs command"
        )
    if len(words) == 2:
        if args.container:
            raise UsageError("only one of -c or an inline [CONTAINER] arg is allowed")
        args.container = words.pop()
    if "/" not in words[0]:
        return [await session.request("get", PODS, session.namespace, words[0])]
    target = (await Catalog(session).targets(words, "logs"))[0]
    obj = await session.request("get", target.resource.gvr, session.namespace, target.names[0])
    if target.resource.gvr == PODS:
        return [obj]
    return await _of_workload(session, args, target, obj)


async def _of_workload(
    session: Session, args: argparse.Namespace, target: Target, obj: Object
) -> list[Object]:
    from coxswain.api import selectors

    given = (obj.get("spec") or {}).get("selector")
    if not given:
        raise UsageError(f"cannot get the logs from {target.resource.gvr.resource}: it selects no pods")
    if not ("matchLabels" in given or "matchExpressions" in given):
        given = {"matchLabels": given}
    selector = str(selectors.label_selector_from(given))
    pods = sorted(await _pods(session, session.namespace, selector), key=_worth_reading)
    if not pods:
        raise UsageError(f"there is no pod of {target.resource.gvr.resource}/{target.names[0]} yet")
    if args.all_pods:
        args.prefix = True
        return pods
    if len(pods) > 1:
        sys.stderr.write(f"Found {len(pods)} pods, using pod/{meta.name(pods[0])}\n")
    return pods[:1]


async def _pods(session: Session, namespace: str, selector: str) -> list[Object]:
    listed = await session.request("list", PODS, namespace, query={"labelSelector": selector})
    return items_of(listed)


def _worth_reading(pod: Object) -> tuple[Any, ...]:
    """Sorts the pod whose log is most likely wanted first: scheduled, running, ready, oldest."""
    bound = bool((pod.get("spec") or {}).get("nodeName"))
    return (
        not bound,
        _PHASES.get(meta.pod_phase(pod), 3),
        not meta.is_pod_ready(pod),
        pod["metadata"].get("creationTimestamp") or "",
        meta.name(pod),
    )


def _of_pod(pod: Object, args: argparse.Namespace, several: bool) -> list[_Source]:
    name, namespace = meta.name(pod), meta.namespace(pod)
    if args.all_containers:
        spec = pod.get("spec") or {}
        groups = ("initContainers", "containers", "ephemeralContainers")
        containers = [one["name"] for group in groups for one in spec.get(group) or ()]
    else:
        containers = [args.container or _default_container(pod, quiet=several)]
        _check(pod, containers[0])
    prefixed = [f"[pod/{name}/{one}] " if args.prefix else "" for one in containers]
    return [_Source(namespace, name, one, prefix) for one, prefix in zip(containers, prefixed, strict=True)]


def _all_names(pod: Object) -> list[str]:
    """The containers' names as a message lists them: ``c, i (init)``."""
    spec = pod.get("spec") or {}
    groups = (("containers", ""), ("initContainers", " (init)"), ("ephemeralContainers", " (ephem)"))
    return [one["name"] + suffix for group, suffix in groups for one in spec.get(group) or ()]


def _default_container(pod: Object, *, quiet: bool) -> str:
    containers: Sequence[Object] = (pod.get("spec") or {}).get("containers") or ()
    names = [str(one["name"]) for one in containers]
    wanted = meta.annotations(pod).get(_DEFAULT_CONTAINER, "")
    if wanted:
        if wanted in names:
            return wanted
        sys.stderr.write(f'Default container name "{wanted}" not found in pod {meta.name(pod)}\n')
    every = _all_names(pod)
    if len(every) > 1 and not quiet:
        sys.stderr.write(f'Defaulted container "{names[0]}" out of: {", ".join(every)}\n')
    return names[0]


def _check(pod: Object, container: str) -> None:
    every = _all_names(pod)
    if container not in (one.partition(" ")[0] for one in every):
        raise UsageError(
            f"container {container} is not valid for pod {meta.name(pod)} out of: {', '.join(every)}"
        )
