"""What a pod asks for: the sum over its containers as kube-scheduler counts it (component-helpers ``PodRequests``).

Containers run together, init containers one after the other beside the sidecars started before them; the pod
needs the larger of both, plus its overhead. Pod-level resources replace the sum of what they name. The
"non-zero" requests, which scores use, give a container that asks for no cpu or memory 100m and 200 MB.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from coxswain.api.quantity import Quantity

CPU = "cpu"
MEMORY = "memory"
EPHEMERAL_STORAGE = "ephemeral-storage"
PODS = "pods"

#: Nano units: quantities are added exactly and rounded up once, at the end.
Amounts = dict[str, int]

#: More than any node has, and small enough that sums of many pods stay in an int64.
LARGEST = 1 << 56

DEFAULT_CPU = 100 * 10**6
DEFAULT_MEMORY = 200 * 1024 * 1024 * 10**9


@lru_cache(maxsize=65536)
def _nano(text: str | int | float) -> int:
    return Quantity.parse(text).nano


def units(resource: str, nano: int) -> int:
    """Whole units of ``resource`` (thousandths of a core for cpu), rounded up; absurd ones are cut to ``LARGEST``."""
    return min(-(-nano // 10**6) if resource == CPU else -(-nano // 10**9), LARGEST)


def amounts_of(quantities: dict[str, Any] | None) -> Amounts:
    """A resource list in nano units."""
    return {name: _nano(value) for name, value in quantities.items()} if quantities else {}


def _of_container(container: dict[str, Any], defaults: bool) -> Amounts:
    asked = amounts_of((container.get("resources") or {}).get("requests"))
    if defaults:
        asked.setdefault(CPU, DEFAULT_CPU)
        asked.setdefault(MEMORY, DEFAULT_MEMORY)
    return asked


def lacks_some(spec: dict[str, Any]) -> bool:
    """Whether some container asks for no cpu or no memory, so that the non-zero requests differ."""
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        asked = (container.get("resources") or {}).get("requests")
        if not asked or CPU not in asked or MEMORY not in asked:
            return True
    return False


def _add(into: Amounts, more: Amounts) -> None:
    for name, nano in more.items():
        into[name] = into.get(name, 0) + nano


def _raise_to(into: Amounts, floor: Amounts) -> None:
    for name, nano in floor.items():
        if nano > into.get(name, 0):
            into[name] = nano


def pod_requests(spec: dict[str, Any], *, defaults: bool = False) -> Amounts:
    """Nano units by resource; ``defaults`` gives the non-zero requests."""
    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, _of_container(container, defaults))
    if inits := spec.get("initContainers"):
        _add_init(total, inits, defaults)
    pod_level = amounts_of((spec.get("resources") or {}).get("requests"))
    for name, nano in pod_level.items():
        if name in (CPU, MEMORY) or name.startswith("hugepages-"):
            total[name] = nano
    _add(total, amounts_of(spec.get("overhead")))
    return total


def _add_init(total: Amounts, inits: list[dict[str, Any]], defaults: bool) -> None:
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in inits:
        asked = _of_container(container, defaults)
        if container.get("restartPolicy") == "Always":
            _add(total, asked)
            _add(sidecars, asked)
            asked = sidecars
        else:
            _add(asked, sidecars)
        _raise_to(peak, asked)
    _raise_to(total, peak)
