"""The endpoints of a service, kept in order while its pods come and go: what changed is sorted in, the rest stays.

    put(uid, pod) --> by ports: (ready, not ready), each sorted by address --> subsets(): a thousand addresses at most

Of a pod no more is kept than where it stands; its address is written from the pod when it is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from sortedcontainers import SortedList

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.controllers.services import addresses, is_headless, should_appear, target_port, target_ref

#: Addresses in one Endpoints object; beyond, it is cut and says so: slices have them all.
MAX_ADDRESSES = 1000

Ports = tuple[tuple[str, int, str, str], ...]


class _Place(NamedTuple):
    """Where a pod stands: as Kubernetes sorts addresses, by their text."""

    ip: str
    uid: str
    key: str


class _Group:
    """Pods that serve the same ports."""

    def __init__(self) -> None:
        self.ready: SortedList[_Place] = SortedList()
        self.unready: SortedList[_Place] = SortedList()


class Members:
    """What the pods of ``service`` (as it is now) are in its Endpoints."""

    def __init__(self, service: Object, pods: Iterable[Object] = ()) -> None:
        self._service = service
        self._family = (service["spec"].get("ipFamilies") or ["IPv4"])[0]
        self._all_ready = bool(service["spec"].get("publishNotReadyAddresses"))
        self._groups: dict[Ports, _Group] = {}
        self._of: dict[str, tuple[Ports, bool, _Place]] = {}
        for pod in pods:
            self.put(meta.uid(pod), pod)

    def put(self, uid: str, pod: Object | None) -> None:
        """The pod ``uid`` is like this now (None: gone, or not selected)."""
        found = self._place(pod) if pod is not None else None
        before = self._of.get(uid)
        if found == before:
            return
        if before is not None:
            self._drop(uid, *before)
        if found is not None:
            ports, ready, place = self._of[uid] = found
            group = self._groups.setdefault(ports, _Group())
            (group.ready if ready else group.unready).add(place)

    def _drop(self, uid: str, ports: Ports, ready: bool, place: _Place) -> None:
        del self._of[uid]
        group = self._groups[ports]
        (group.ready if ready else group.unready).remove(place)
        if not group.ready and not group.unready:
            del self._groups[ports]

    def _place(self, pod: Object) -> tuple[Ports, bool, _Place] | None:
        if not should_appear(pod, terminating=self._all_ready):
            return None
        found = addresses(pod, self._family)
        declared = self._service["spec"].get("ports") or ()
        ports = tuple(
            (port.get("name", ""), number, port.get("protocol", "TCP"), port.get("appProtocol", ""))
            for port in declared
            if (number := target_port(port, pod)) is not None
        )
        if not found or (not ports and (declared or not is_headless(self._service))):
            return None
        ready = self._all_ready or meta.is_pod_ready(pod)
        return ports, ready, _Place(found[0], meta.uid(pod), meta.key(pod))

    def subsets(self, find: Callable[[str], Object | None]) -> tuple[list[Object], bool]:
        """Addresses grouped by the ports they serve, sorted; and whether some had to be left out.

        ``find`` gives a pod by ``namespace/name``.
        """
        subsets: list[Object] = []
        groups = [self._groups[ports] for ports in sorted(self._groups)]
        shares, cut = _shares(groups)
        for ports, group, (ready, unready) in zip(sorted(self._groups), groups, shares, strict=True):
            subset: Object = {}
            for name, places, count in (
                ("addresses", group.ready, ready),
                ("notReadyAddresses", group.unready, unready),
            ):
                if found := list(self._addresses(islice(places, count), find)):
                    subset[name] = found
            if not subset:
                continue
            if ports:
                subset["ports"] = [_port(*port) for port in ports]
            subsets.append(subset)
        return subsets, cut

    def _addresses(self, places: Iterable[_Place], find: Callable[[str], Object | None]) -> Iterator[Object]:
        subdomain = meta.name(self._service)
        for place in places:
            pod = find(place.key)
            if pod is None or meta.uid(pod) != place.uid:
                continue
            spec, address = pod["spec"], {"ip": place.ip}
            if spec.get("nodeName"):
                address["nodeName"] = spec["nodeName"]
            if spec.get("hostname") and spec.get("subdomain") == subdomain:
                address["hostname"] = spec["hostname"]
            yield {**address, "targetRef": target_ref(pod)}


def _shares(groups: list[_Group]) -> tuple[list[tuple[int, int]], bool]:
    """How many (ready, unready) addresses of each group there is room for (Kubernetes' ``truncateEndpoints``).

    What is too much is cut by each group's part of the whole: of those that are not ready while all ready ones fit,
    else of the ready ones, and then no others are left.
    """
    all_of = [(len(group.ready), len(group.unready)) for group in groups]
    ready, unready = (sum(each) for each in zip(*all_of, strict=True)) if all_of else (0, 0)
    if ready + unready <= MAX_ADDRESSES:
        return all_of, False
    which = 0 if ready > MAX_ADDRESSES else 1
    left = room = MAX_ADDRESSES - (0 if which == 0 else ready)
    shares = []
    for counts in all_of:
        count = min(math.ceil(counts[which] / (ready, unready)[which] * room), left)
        left -= count
        shares.append((count, 0) if which == 0 else (counts[0], count))
    return shares, True


def _port(name: str, number: int, protocol: str, app: str) -> Object:
    port: Object = {"name": name} if name else {}
    port |= {"port": number, "protocol": protocol}
    if app:
        port["appProtocol"] = app
    return port
