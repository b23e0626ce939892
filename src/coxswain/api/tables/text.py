"""How cells say things: ages, labels, lists, what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from coxswain.api.names import Object
from coxswain.api.selectors import SelectorError, label_selector_from
from coxswain.base.clock import parse_time

#: (object, now in seconds since the epoch) -> cells.
Printer: TypeAlias = Callable[[Object, float], list[Any]]

NONE: Final = "<none>"
UNKNOWN: Final = "<unknown>"
UNSET: Final = "<unset>"


def meta(obj: Object) -> Object:
    """The object's metadata."""
    return obj.get("metadata") or {}


def name(obj: Object) -> str:
    """The object's name."""
    return str(meta(obj).get("name", ""))


def spec(obj: Object) -> Object:
    """The object's spec, or an empty one."""
    return obj.get("spec") or {}


def status(obj: Object) -> Object:
    """The object's status, or an empty one."""
    return obj.get("status") or {}


def human_duration(seconds: float) -> str:
    """At most two units, the more precise the shorter (apimachinery ``duration.HumanDuration``)."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    if total < 120:
        return f"{max(total, 0)}s"
    minutes, hours = total // 60, total // 3600
    if minutes < 10:
        return _two(minutes, "m", total % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 2920:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}{small}{small_unit}" if small else f"{big}{big_unit}"


def since(timestamp: Any, now: float) -> str:
    """How long ago a metav1.Time (or MicroTime) was; ``<unknown>`` where there is none."""
    if not timestamp:
        return UNKNOWN
    return human_duration(now - parse_time(timestamp))


def age(obj: Object, now: float) -> str:
    """How old the object is."""
    return since(meta(obj).get("creationTimestamp"), now)


def labels(mapping: Mapping[str, Any] | None) -> str:
    """``a=1,b=2``, or ``<none>``."""
    return ",".join(f"{key}={value}" for key, value in sorted((mapping or {}).items())) or NONE


def selector(label_selector: Object | None) -> str:
    """A LabelSelector's text, or ``<none>``."""
    try:
        return str(label_selector_from(label_selector)) or NONE
    except SelectorError:
        return "<error>"


def containers(pod_spec: Object | None) -> list[str]:
    """Two cells: the names and the images of a pod's containers."""
    listed = (pod_spec or {}).get("containers") or []
    return [
        ",".join(container.get("name", "") for container in listed),
        ",".join(container.get("image", "") for container in listed),
    ]


def template_containers(obj: Object) -> list[str]:
    """The same for the pod template in an object's spec."""
    return containers((spec(obj).get("template") or {}).get("spec"))


def first_of(items: Sequence[str], limit: int, separator: str = ",") -> str:
    """The first items, and how many more there are."""
    text = separator.join(items[:limit])
    return f"{text} + {len(items) - limit} more..." if len(items) > limit else text


def condition(obj: Object, kind: str) -> Object | None:
    """The status condition of this type."""
    for candidate in status(obj).get("conditions") or ():
        if candidate.get("type") == kind:
            found: Object = candidate
            return found
    return None


def holds(obj: Object, kind: str) -> bool:
    """Whether the condition of this type is true."""
    found = condition(obj, kind)
    return found is not None and found.get("status") == "True"


def boolean(value: Any) -> str:
    """``True``, ``False`` or ``<unset>``."""
    return UNSET if value is None else str(bool(value))


def addresses(balancer: Object | None) -> str:
    """The addresses of a load balancer's status, sorted."""
    found: Iterable[str] = {
        ingress.get("ip") or ingress.get("hostname") or ""
        for ingress in (balancer or {}).get("ingress") or ()
    }
    return ",".join(sorted(filter(None, found)))
