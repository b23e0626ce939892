"""Nodes: conditions, capacity, and what the pods on them ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coxswain.api.errors import ApiError
from coxswain.api.names import LEASES, PODS, Object
from coxswain.api.quantity import Quantity
from coxswain.cli.kubectl.describe.sheet import NONE, UNSET, Sheet, ago, events, moment
from coxswain.cli.kubectl.resources import items_of
from coxswain.cli.kubectl.session import Session

_ROLE = "node-role.kubernetes.io/"
_MAIN = ("cpu", "memory", "ephemeral-storage")
_INFO = (
    ("Machine ID", "machineID"),
    ("System UUID", "systemUUID"),
    ("Boot ID", "bootID"),
    ("Kernel Version", "kernelVersion"),
    ("OS Image", "osImage"),
    ("Operating System", "operatingSystem"),
    ("Architecture", "architecture"),
    ("Container Runtime Version", "containerRuntimeVersion"),
    ("Kubelet Version", "kubeletVersion"),
)
Amounts = Mapping[str, Quantity]


async def node(session: Session, obj: Object, found: Sequence[Object] | None) -> str:
    """A Node."""
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    sheet = Sheet()
    sheet.head(obj, namespaced=False)
    sheet.row("Roles", ",".join(_roles(meta.get("labels") or {})) or NONE)
    sheet.meta(obj)
    sheet.row("CreationTimestamp", moment(meta.get("creationTimestamp")))
    taints = sorted(spec.get("taints") or (), key=lambda one: f"{one.get('effect')},{one.get('key')}")
    sheet.lines("Taints", [_taint(one) for one in taints])
    sheet.row("Unschedulable", "true" if spec.get("unschedulable") else "false")
    await _lease(session, sheet, meta["name"])
    _conditions(sheet, status)
    sheet.line("Addresses:")
    for address in status.get("addresses") or ():
        sheet.row(address.get("type") or "", address.get("address") or "", 1)
    for name, field in (("Capacity", "capacity"), ("Allocatable", "allocatable")):
        if status.get(field):
            sheet.line(f"{name}:")
            for resource, amount in sorted(status[field].items()):
                sheet.row(resource, amount, 1)
    _system(sheet, spec, status)
    await _pods(session, sheet, obj)
    events(sheet, found)
    return sheet.text()


def _roles(labels: Mapping[str, str]) -> list[str]:
    found = {key.removeprefix(_ROLE) for key in labels if key.startswith(_ROLE)}
    return sorted((found | {labels.get("kubernetes.io/role", "")}) - {""})


def _taint(one: Object) -> str:
    key, value, effect = one.get("key") or "", one.get("value") or "", one.get("effect") or ""
    if not effect:
        return f"{key}={value}:" if value else key
    return f"{key}={value}:{effect}" if value else f"{key}:{effect}"


async def _lease(session: Session, sheet: Sheet, name: str) -> None:
    try:
        lease = await session.request("get", LEASES, "kube-node-lease", name)
    except ApiError as error:
        sheet.row("Lease", f"Failed to get lease: {error.message}")
        return
    spec = lease.get("spec") or {}
    sheet.line("Lease:")
    sheet.row("HolderIdentity", spec.get("holderIdentity") or UNSET, 1)
    for label, field in (("AcquireTime", "acquireTime"), ("RenewTime", "renewTime")):
        sheet.row(label, moment(spec[field]) if spec.get(field) else UNSET, 1)


def _conditions(sheet: Sheet, status: Object) -> None:
    if not status.get("conditions"):
        return
    titles = ("Type", "Status", "LastHeartbeatTime", "LastTransitionTime", "Reason", "Message")
    rows = [
        (
            f"{one.get('type')} ",
            f"{one.get('status')} ",
            f"{moment(one.get('lastHeartbeatTime'))} ",
            f"{moment(one.get('lastTransitionTime'))} ",
            f"{one.get('reason') or ''} ",
            one.get("message") or "",
        )
        for one in status["conditions"]
    ]
    sheet.table("Conditions", titles, rows)


def _system(sheet: Sheet, spec: Object, status: Object) -> None:
    info = status.get("nodeInfo") or {}
    sheet.line("System Info:")
    for name, field in _INFO:
        sheet.row(name, info.get(field) or "", 1)
    if spec.get("podCIDR"):
        sheet.row("PodCIDR", spec["podCIDR"])
    if spec.get("podCIDRs"):
        sheet.row("PodCIDRs", ",".join(spec["podCIDRs"]))
    if spec.get("providerID"):
        sheet.row("ProviderID", spec["providerID"])


# --- pods and what they take ------------------------------------------------------------------------------


async def _pods(session: Session, sheet: Sheet, obj: Object) -> None:
    fields = f"spec.nodeName={obj['metadata']['name']},status.phase!=Failed,status.phase!=Succeeded"
    try:
        pods = items_of(await session.request("list", PODS, query={"fieldSelector": fields}))
    except ApiError:
        sheet.row("Pods", "not authorized")
        return
    status = obj.get("status") or {}
    room = _amounts(status.get("allocatable") or status.get("capacity") or {})
    sheet.row("Non-terminated Pods", f"({len(pods)} in total)")
    titles = ("CPU Requests", "CPU Limits", "Memory Requests", "Memory Limits", "Age")
    sheet.line("Namespace\tName\t\t" + "\t".join(titles), 1)
    sheet.line("---------\t----\t\t" + "\t".join("-" * len(title) for title in titles), 1)
    totals: tuple[dict[str, Quantity], dict[str, Quantity]] = ({}, {})
    for pod in pods:
        asked = pod_amounts(pod, "requests"), pod_amounts(pod, "limits")
        for total, amounts in zip(totals, asked, strict=True):
            _add(total, amounts)
        shown = [_share(amounts, name, room) for name in ("cpu", "memory") for amounts in asked]
        age = ago(pod["metadata"].get("creationTimestamp"))
        head = f"{pod['metadata']['namespace']}\t{pod['metadata']['name']}\t\t"
        sheet.line(head + "\t".join([*shown, age]), 1)
    _allocated(sheet, totals, room)


def _allocated(sheet: Sheet, totals: tuple[Amounts, Amounts], room: Amounts) -> None:
    sheet.line("Allocated resources:\n  (Total limits may be over 100 percent, i.e., overcommitted.)")
    sheet.line("Resource\tRequests\tLimits", 1)
    sheet.line("--------\t--------\t------", 1)
    huge = sorted(name for name in room if name.startswith("hugepages-"))
    for name in (*_MAIN, *huge):
        shares = "\t".join(_share(amounts, name, room) for amounts in totals)
        sheet.line(f"{name}\t{shares}", 1)
    for name in sorted(set(room) - {*_MAIN, *huge, "pods"}):
        amounts = "\t".join(str(total.get(name, "0")) for total in totals)
        sheet.line(f"{name}\t{amounts}", 1)


def _share(amounts: Amounts, name: str, room: Amounts) -> str:
    """``100m (5%)``."""
    amount, all_of_it = amounts.get(name), room.get(name)
    if amount is None:
        return "0 (0%)"
    percent = amount.nano * 100 // all_of_it.nano if all_of_it is not None and all_of_it.nano else 0
    return f"{amount} ({percent}%)"


def _amounts(texts: Mapping[str, str]) -> dict[str, Quantity]:
    return {name: Quantity.parse(text) for name, text in texts.items()}


def _add(total: dict[str, Quantity], amounts: Amounts) -> None:
    for name, amount in amounts.items():
        total[name] = total[name] + amount if name in total else amount


def _most(total: dict[str, Quantity], amounts: Amounts) -> None:
    for name, amount in amounts.items():
        if name not in total or total[name] < amount:
            total[name] = amount


def pod_amounts(pod: Object, field: str) -> dict[str, Quantity]:
    """What a pod asks for: its containers together, or its biggest init container, plus the overhead."""
    spec = pod.get("spec") or {}
    total: dict[str, Quantity] = {}
    starting: dict[str, Quantity] = {}
    beside: dict[str, Quantity] = {}
    for container in spec.get("containers") or ():
        _add(total, _amounts((container.get("resources") or {}).get(field) or {}))
    for container in spec.get("initContainers") or ():
        amounts = _amounts((container.get("resources") or {}).get(field) or {})
        if container.get("restartPolicy") == "Always":  # a sidecar stays
            _add(total, amounts)
            _add(beside, amounts)
            amounts = beside
        else:
            _add(amounts, beside)
        _most(starting, amounts)
    _most(total, starting)
    total.update(_amounts((spec.get("resources") or {}).get(field) or {}))
    overhead = _amounts(spec.get("overhead") or {})
    _add(total, overhead if field == "requests" else {key: overhead[key] for key in overhead if key in total})
    return total
