"""Namespaces with their quotas and limits."""

from __future__ import annotations

from collections.abc import Sequence

from coxswain.api.errors import ApiError
from coxswain.api.names import GVR, Object
from coxswain.cli.kubectl.describe.sheet import Sheet, moment
from coxswain.cli.kubectl.resources import items_of
from coxswain.cli.kubectl.session import Session

_QUOTAS, _LIMITS = GVR("", "v1", "resourcequotas"), GVR("", "v1", "limitranges")


async def namespace(session: Session, obj: Object, found: Sequence[Object] | None) -> str:
    """A Namespace."""
    status = obj.get("status") or {}
    sheet = Sheet()
    sheet.head(obj, namespaced=False)
    sheet.meta(obj)
    sheet.row("Status", status.get("phase") or "")
    if status.get("conditions"):
        rows = [
            (
                one.get("type"),
                one.get("status"),
                moment(one.get("lastTransitionTime")),
                one.get("reason") or "",
                one.get("message") or "",
            )
            for one in status["conditions"]
        ]
        sheet.table("Conditions", ("Type", "Status", "LastTransitionTime", "Reason", "Message"), rows)
    name = obj["metadata"]["name"]
    quotas, limits = await _list(session, _QUOTAS, name), await _list(session, _LIMITS, name)
    if quotas is not None:
        sheet.line("")
        _quotas(sheet, quotas)
    if limits is not None:
        sheet.line("")
        _limits(sheet, limits)
    return sheet.text()


async def _list(session: Session, resource: GVR, name: str) -> list[Object] | None:
    try:
        return items_of(await session.request("list", resource, name))
    except ApiError:
        return None


def _quotas(sheet: Sheet, quotas: Sequence[Object]) -> None:
    if not quotas:
        sheet.line("No resource quota.")
        return
    sheet.line("Resource Quotas")
    for quota in sorted(quotas, key=lambda one: str(one["metadata"]["name"])):
        status = quota.get("status") or {}
        sheet.row("Name", quota["metadata"]["name"], 1)
        if scopes := (quota.get("spec") or {}).get("scopes"):
            sheet.row("Scopes", ", ".join(sorted(scopes)), 1)
        sheet.line("Resource\tUsed\tHard", 1)
        sheet.line("--------\t---\t---", 1)
        used = status.get("used") or {}
        for resource, hard in sorted((status.get("hard") or {}).items()):
            sheet.line(f"{resource}\t{used.get(resource, '0')}\t{hard}", 1)


def _limits(sheet: Sheet, ranges: Sequence[Object]) -> None:
    if not ranges:
        sheet.line("No LimitRange resource.")
        return
    titles = "Type\tResource\tMin\tMax\tDefault Request\tDefault Limit\tMax Limit/Request Ratio"
    sheet.line(f"Resource Limits\n {titles}")
    sheet.line(" ----\t--------\t---\t---\t---------------\t-------------\t-----------------------")
    fields = ("min", "max", "defaultRequest", "default", "maxLimitRequestRatio")
    for limit in (limit for one in ranges for limit in (one.get("spec") or {}).get("limits") or ()):
        for resource in sorted({name for field in fields for name in limit.get(field) or {}}):
            values = "\t".join(str((limit.get(field) or {}).get(resource, "-")) for field in fields)
            sheet.line(f" {limit.get('type')}\t{resource}\t{values}")
