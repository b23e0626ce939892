"""Pods."""

from __future__ import annotations

from collections.abc import Sequence

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.cli.kubectl.describe import containers
from coxswain.cli.kubectl.describe.sheet import NONE, Sheet, ago, events, moment
from coxswain.cli.kubectl.session import Session


async def pod(session: Session, obj: Object, found: Sequence[Object] | None) -> str:
    """A Pod: where it is, how its containers are, what it mounts and tolerates."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    sheet = Sheet()
    sheet.head(obj)
    _placement(sheet, spec, status)
    sheet.meta(obj)
    _phase(sheet, obj, spec, status)
    if spec.get("resources"):
        sheet.line("Resources:")
        containers.resources(sheet, spec["resources"], 1)
    for label, field, statuses in (
        ("Init Containers", "initContainers", "initContainerStatuses"),
        ("Containers", "containers", "containerStatuses"),
        ("Ephemeral Containers", "ephemeralContainers", "ephemeralContainerStatuses"),
    ):
        if spec.get(field) or field == "containers":
            containers.containers(sheet, label, spec.get(field) or [], status.get(statuses) or [], pod=obj)
    _conditions(sheet, spec, status)
    containers.volumes(sheet, spec.get("volumes") or [], "")
    sheet.row("QoS Class", status.get("qosClass") or meta.qos_class(obj))
    sheet.labels("Node-Selectors", spec.get("nodeSelector"))
    containers.tolerations(sheet, "Tolerations", spec.get("tolerations") or [])
    containers.spreading(sheet, spec.get("topologySpreadConstraints") or [], "")
    events(sheet, found)
    return sheet.text()


def _placement(sheet: Sheet, spec: Object, status: Object) -> None:
    if spec.get("priority") is not None:
        sheet.row("Priority", spec["priority"])
    for name, field in (
        ("Priority Class Name", "priorityClassName"),
        ("Runtime Class Name", "runtimeClassName"),
        ("Service Account", "serviceAccountName"),
    ):
        if spec.get(field):
            sheet.row(name, spec[field])
    node = spec.get("nodeName")
    sheet.row("Node", f"{node}/{status.get('hostIP') or ''}" if node else NONE)
    if status.get("startTime"):
        sheet.row("Start Time", moment(status["startTime"]))


def _phase(sheet: Sheet, obj: Object, spec: Object, status: Object) -> None:
    deleted = obj["metadata"].get("deletionTimestamp")
    if deleted and not meta.is_pod_finished(obj):
        sheet.row("Status", f"Terminating (lasts {ago(deleted)})")
        sheet.row("Termination Grace Period", f"{obj['metadata'].get('deletionGracePeriodSeconds') or 0}s")
    else:
        sheet.row("Status", status.get("phase") or "")
    for name, field in (("Reason", "reason"), ("Message", "message")):
        if status.get(field):
            sheet.row(name, status[field])
    profile = (spec.get("securityContext") or {}).get("seccompProfile")
    if profile:
        sheet.row("SeccompProfile", profile.get("type"))
        if profile.get("type") == "Localhost":
            sheet.row("LocalhostProfile", profile.get("localhostProfile"))
    sheet.row("IP", status.get("podIP") or "")
    addresses = [one.get("ip") for one in status.get("podIPs") or ()]
    sheet.line("IPs:" if addresses else f"IPs:\t{NONE}")
    for address in addresses:
        sheet.row("IP", address, 1)
    sheet.controller(obj)
    if status.get("nominatedNodeName"):
        sheet.row("NominatedNodeName", status["nominatedNodeName"])


def _conditions(sheet: Sheet, spec: Object, status: Object) -> None:
    conditions = status.get("conditions") or ()
    by_type = {one.get("type"): one.get("status") for one in conditions}
    gates = [one.get("conditionType") for one in spec.get("readinessGates") or ()]
    for name, rows in (
        ("Readiness Gates", [(gate, by_type.get(gate, NONE)) for gate in gates]),
        ("Conditions", [(one.get("type"), one.get("status")) for one in conditions]),
    ):
        if rows:
            sheet.line(f"{name}:\n  Type\tStatus")
            for kind, state in rows:
                sheet.line(f"{kind} \t{state} ", 1)
