"""Deployments, replica sets, daemon sets, stateful sets, jobs."""

from __future__ import annotations

from collections.abc import Sequence

from coxswain.api.errors import ApiError
from coxswain.api.names import PODS, REPLICA_SETS, Object
from coxswain.cli.kubectl.describe.containers import template
from coxswain.cli.kubectl.describe.sheet import NONE, Sheet, events, moment, pairs, selector_text
from coxswain.cli.kubectl.resources import items_of
from coxswain.cli.kubectl.session import Session

_HASH = "pod-template-hash"


async def deployment(session: Session, obj: Object, found: Sequence[Object] | None) -> str:
    """A Deployment with its replica sets."""
    spec, status = obj["spec"], obj.get("status") or {}
    sheet = Sheet()
    sheet.head(obj)
    sheet.row("CreationTimestamp", moment(obj["metadata"].get("creationTimestamp")))
    sheet.meta(obj)
    sheet.row("Selector", selector_text(spec.get("selector")))
    counts = " | ".join(
        f"{status.get(field) or 0} {word}"
        for field, word in (
            ("updatedReplicas", "updated"),
            ("replicas", "total"),
            ("availableReplicas", "available"),
            ("unavailableReplicas", "unavailable"),
        )
    )
    sheet.row("Replicas", f"{spec.get('replicas', 1)} desired | {counts}")
    strategy = spec.get("strategy") or {}
    sheet.row("StrategyType", strategy.get("type") or "")
    sheet.row("MinReadySeconds", spec.get("minReadySeconds") or 0)
    if rolling := strategy.get("rollingUpdate"):
        most = f"{rolling.get('maxUnavailable')} max unavailable, {rolling.get('maxSurge')} max surge"
        sheet.row("RollingUpdateStrategy", most)
    template(sheet, spec["template"])
    _conditions(sheet, status)
    old, new = await _replica_sets(session, obj)
    if old or new:
        sheet.row("OldReplicaSets", _named(old))
        sheet.row("NewReplicaSet", _named(new))
    events(sheet, found)
    return sheet.text()


def _conditions(sheet: Sheet, status: Object) -> None:
    conditions = status.get("conditions") or ()
    if conditions:
        sheet.line("Conditions:\n  Type\tStatus\tReason")
        sheet.line("----\t------\t------", 1)
    for one in conditions:
        sheet.line(f"{one.get('type')} \t{one.get('status')}\t{one.get('reason') or ''}", 1)


async def _replica_sets(session: Session, obj: Object) -> tuple[list[Object], list[Object]]:
    """The old ones and the one of the template of today."""
    uid = obj["metadata"].get("uid")
    owned = [one for one in await _selected(session, obj, REPLICA_SETS) if _owner(one) == uid]
    owned.sort(key=lambda one: (one["metadata"].get("creationTimestamp") or "", one["metadata"]["name"]))
    wanted = _without_hash(obj["spec"]["template"])
    new = [one for one in owned if _without_hash(one["spec"]["template"]) == wanted][:1]
    return [one for one in owned if one not in new], new


async def _selected(session: Session, obj: Object, resource: object) -> list[Object]:
    selector = selector_text(obj["spec"].get("selector"))
    query = {} if selector == NONE else {"labelSelector": selector}
    try:
        listed = await session.request("list", resource, obj["metadata"]["namespace"], query=query)  # type: ignore[arg-type]
    except ApiError:
        return []
    return items_of(listed)


def _owner(obj: Object) -> str | None:
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return str(reference.get("uid"))
    return None


def _without_hash(pod: Object) -> Object:
    meta = dict(pod.get("metadata") or {})
    meta["labels"] = {key: value for key, value in (meta.get("labels") or {}).items() if key != _HASH}
    meta.pop("creationTimestamp", None)
    return {**pod, "metadata": meta}


def _named(sets: Sequence[Object]) -> str:
    texts = [
        f"{one['metadata']['name']} ({(one.get('status') or {}).get('replicas') or 0}/"
        f"{one['spec'].get('replicas', 1)} replicas created)"
        for one in sets
    ]
    return ", ".join(texts) or NONE


async def _pods_status(session: Session, obj: Object) -> str:
    uid = obj["metadata"].get("uid")
    phases = [
        (one.get("status") or {}).get("phase")
        for one in await _selected(session, obj, PODS)
        if _owner(one) == uid
    ]
    words = (("Running", "Running"), ("Pending", "Waiting"), ("Succeeded", "Succeeded"), ("Failed", "Failed"))
    return " / ".join(f"{phases.count(phase)} {word}" for phase, word in words)


async def replica_set(session: Session, obj: Object, found: Sequence[Object] | None) -> str:
    """A ReplicaSet with the phases of its pods."""
    spec, status = obj["spec"], obj.get("status") or {}
    sheet = Sheet()
    sheet.head(obj)
    sheet.row("Selector", selector_text(spec.get("selector")))
    sheet.meta(obj)
    sheet.controller(obj)
    sheet.row("Replicas", f"{status.get('replicas') or 0} current / {spec.get('replicas', 1)} desired")
    sheet.row("Pods Status", await _pods_status(session, obj))
    template(sheet, spec.get("template") or {})
    _conditions(sheet, status)
    events(sheet, found)
    return sheet.text()


async def daemon_set(session: Session, obj: Object, found: Sequence[Object] | None) -> str:
    """A DaemonSet with the phases of its pods."""
    spec, status = obj["spec"], obj.get("status") or {}
    sheet = Sheet()
    sheet.head(obj)
    sheet.row("Selector", selector_text(spec.get("selector")))
    sheet.row("Node-Selector", pairs((spec["template"].get("spec") or {}).get("nodeSelector")))
    sheet.meta(obj)
    for name, field in (
        ("Desired Number of Nodes Scheduled", "desiredNumberScheduled"),
        ("Current Number of Nodes Scheduled", "currentNumberScheduled"),
        ("Number of Nodes Scheduled with Up-to-date Pods", "updatedNumberScheduled"),
        ("Number of Nodes Scheduled with Available Pods", "numberAvailable"),
        ("Number of Nodes Misscheduled", "numberMisscheduled"),
    ):
        sheet.line(f"{name}: {status.get(field) or 0}")
    sheet.row("Pods Status", await _pods_status(session, obj))
    template(sheet, spec["template"])
    events(sheet, found)
    return sheet.text()


async def stateful_set(session: Session, obj: Object, found: Sequence[Object] | None) -> str:
    """A StatefulSet with the phases of its pods and its claims."""
    spec, status = obj["spec"], obj.get("status") or {}
    sheet = Sheet()
    sheet.head(obj)
    sheet.row("CreationTimestamp", moment(obj["metadata"].get("creationTimestamp")))
    sheet.row("Selector", selector_text(spec.get("selector")))
    sheet.meta(obj)
    sheet.row("Replicas", f"{spec.get('replicas', 1)} desired | {status.get('replicas') or 0} total")
    strategy = spec.get("updateStrategy") or {}
    sheet.row("Update Strategy", strategy.get("type") or "")
    partition = (strategy.get("rollingUpdate") or {}).get("partition")
    if partition is not None:
        sheet.row("Partition", partition, 1)
    sheet.row("Pods Status", await _pods_status(session, obj))
    template(sheet, spec["template"])
    _claims(sheet, spec.get("volumeClaimTemplates") or [])
    events(sheet, found)
    return sheet.text()


def _claims(sheet: Sheet, claims: Sequence[Object]) -> None:
    sheet.line("Volume Claims:" if claims else f"Volume Claims:\t{NONE}")
    for claim in claims:
        meta, spec = claim.get("metadata") or {}, claim.get("spec") or {}
        requests = (spec.get("resources") or {}).get("requests") or {}
        sheet.row("Name", meta.get("name") or "", 1)
        sheet.row("StorageClass", spec.get("storageClassName") or "", 1)
        sheet.labels("  Labels", meta.get("labels"))
        sheet.labels("  Annotations", meta.get("annotations"))
        sheet.row("Capacity", requests.get("storage") or "<default>", 1)
        sheet.row("Access Modes", f"[{' '.join(spec.get('accessModes') or ())}]", 1)


async def job(session: Session, obj: Object, found: Sequence[Object] | None) -> str:
    """A Job."""
    spec, status = obj["spec"], obj.get("status") or {}
    sheet = Sheet()
    sheet.head(obj)
    sheet.row("Selector", selector_text(spec.get("selector")))
    sheet.meta(obj)
    sheet.controller(obj)
    for name, field in (
        ("Parallelism", "parallelism"),
        ("Completions", "completions"),
        ("Completion Mode", "completionMode"),
        ("Suspend", "suspend"),
        ("Backoff Limit", "backoffLimit"),
        ("TTL Seconds After Finished", "ttlSecondsAfterFinished"),
    ):
        value = spec.get(field)
        if value is not None or field == "completions":
            sheet.row(
                name,
                "<unset>"
                if value is None
                else str(value).lower()
                if value is False or value is True
                else value,
            )
    for name, field in (("Start Time", "startTime"), ("Completed At", "completionTime")):
        if status.get(field):
            sheet.row(name, moment(status[field]))
    if spec.get("activeDeadlineSeconds") is not None:
        sheet.row("Active Deadline Seconds", f"{spec['activeDeadlineSeconds']}s")
    ready = f" ({status['ready']} Ready)" if status.get("ready") is not None else ""
    done = f"{status.get('succeeded') or 0} Succeeded / {status.get('failed') or 0} Failed"
    sheet.row("Pods Statuses", f"{status.get('active') or 0} Active{ready} / {done}")
    template(sheet, spec["template"])
    events(sheet, found)
    return sheet.text()
