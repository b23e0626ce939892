"""What one object costs a controller as the number of its neighbours grows: it should not grow with them.

slices     one changed pod of a service with so many endpoints
volumes    a claim that looks for a volume among so many free ones
ranges     a node that gets its pod addresses when so many are given
"""

from __future__ import annotations

from functools import partial

from coxswain.controllers.endpointslice import decide
from coxswain.controllers.endpointslice.shelves import shelved
from coxswain.controllers.nodeipam.ranges import CidrSet
from coxswain.controllers.pvbinder import decide as binding
from coxswain.controllers.pvbinder.free import VolumeIndex

ZONES = {"n": "a"}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "d", "uid": "svc"},
    "spec": {"selector": {"app": "web"}, "ipFamilies": ["IPv4"], "ports": [{"port": 80, "protocol": "TCP"}]},
}


def _pod(number: int, ready: str = "True"):
    ip = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}
    return {
        "metadata": {"name": f"p{number}", "namespace": "d", "uid": f"u{number}", "labels": {"app": "web"}},
        "spec": {"nodeName": "n", "containers": []},
        "status": {**status, "conditions": [{"type": "Ready", "status": ready}]},
    }


class OneChangedPod:
    """One pod of a large service stops being ready: looked at alone, and with all its fellows."""

    params = (1_000, 10_000)
    param_names = ("endpoints",)

    def setup(self, endpoints: int) -> None:
        self.around = decide.Surroundings(ZONES)
        self.pods = [_pod(number) for number in range(endpoints)]
        created = decide.plan(SERVICE, self.pods, [], self.around).changes.create
        self.slices = [
            {**one, "metadata": {**one["metadata"], "name": f"s{number}"}}
            for number, one in enumerate(created)
        ]
        self.shelves = shelved(self.slices)
        self.holding = {decide.identity(each): one for one in self.slices for each in one["endpoints"]}
        self.changed = {"u500": _pod(500, "False")}

    def time_alone(self, endpoints: int) -> None:
        around = self.around
        found = decide.apply(
            SERVICE, self.changed, lambda uid: [self.holding[uid]], partial(self.shelves.only, ""), around
        )
        assert found is not None
        assert len(found.update) == 1

    def time_with_all(self, endpoints: int) -> None:
        decide.plan(SERVICE, self.pods, self.slices, self.around)


class FreeVolumes:
    """A claim's plan among many free volumes of its class."""

    params = (1_000, 100_000)
    param_names = ("volumes",)

    def setup(self, volumes: int) -> None:
        self.index = VolumeIndex()
        for number in range(volumes):
            spec = {"capacity": {"storage": f"{number % 50 + 1}Gi"}, "accessModes": ["ReadWriteOnce"]}
            volume = {"metadata": {"name": f"v{number}"}, "spec": {**spec, "storageClassName": "a"}}
            self.index.put({**volume, "status": {"phase": "Available"}})
        spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "a"}
        spec["resources"] = {"requests": {"storage": "25Gi"}}
        self.claim = {"metadata": {"name": "c", "namespace": "d", "uid": "u"}, "spec": spec}

    def time_100_plans(self, volumes: int) -> None:
        for _ in range(100):
            around = binding.Surroundings(
                find=lambda _: None,
                reserved=self.index.reserved("d/c"),
                free=lambda: self.index.free_for(self.claim),
            )
            assert binding.plan_claim(self.claim, around).bind is not None


class NodeRanges:
    """The last ranges of a network."""

    params = (200, 60_000)
    param_names = ("nodes",)

    def setup(self, nodes: int) -> None:
        self.ranges = CidrSet("10.0.0.0/8", 24)
        for _ in range(nodes):
            self.ranges.allocate()

    def time_100_ranges_and_back(self, nodes: int) -> None:
        for cidr in [self.ranges.allocate() for _ in range(100)]:
            assert cidr is not None
            self.ranges.release(cidr)
