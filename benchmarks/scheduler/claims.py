"""Pods with claims."""

from __future__ import annotations

from benchmarks.scheduler.decisions import _Cluster
from benchmarks.scheduler_perf.objects import pod
from coxswain.scheduler import pod as pods

_HOST = "kubernetes.io/hostname"


class Claims:
    """20 pods on 5,000 nodes, each with a claim: bound in one zone, to be provisioned, or for a local volume."""

    params = ("bound", "provisioned", "local")
    param_names = ("claims",)
    timeout = 120
    number = 1

    def setup(self, claims: str) -> None:
        self.cluster = _Cluster(5000)
        volumes = self.cluster.table.volumes
        provisioner = "kubernetes.io/no-provisioner" if claims == "local" else "csi.example.com"
        volumes.set(
            "storageclasses",
            {
                "metadata": {"name": "c"},
                "provisioner": provisioner,
                "volumeBindingMode": "WaitForFirstConsumer",
            },
        )
        for i in range(5000):
            driver = {"name": "csi.example.com", "allocatable": {"count": 39}}
            volumes.set("csinodes", {"metadata": {"name": f"node-{i}"}, "spec": {"drivers": [driver]}})
            if claims == "local":
                volumes.set("persistentvolumes", _volume(i, _HOST, f"node-{i}"))
            elif claims == "bound" and i < 25:
                volumes.set("persistentvolumes", _volume(i, "topology.kubernetes.io/zone", "zone1"))
        todo = []
        for i in range(25):
            volumes.set("persistentvolumeclaims", _claim(i, bound=claims == "bound"))
            obj = pod(i)
            obj["metadata"]["namespace"] = "d"
            obj["spec"]["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": f"c{i}"}}]
            todo.append(pods.parse(obj, self.cluster.templates))
        self.cluster.schedule(todo[:5], 1)
        self.cluster.check(5)
        self.todo = todo[5:]

    def time_20_decisions(self, claims: str) -> None:
        self.cluster.schedule(self.todo, 1)


def _volume(index: int, key: str, value: str) -> dict:
    near = [{"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]}]
    return {
        "metadata": {"name": f"pv{index:05}"},
        "spec": {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "c",
            "csi": {"driver": "csi.example.com", "volumeHandle": f"h{index}"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": near}},
        },
        "status": {"phase": "Available"},
    }


def _claim(index: int, *, bound: bool) -> dict:
    metadata: dict = {"name": f"c{index}", "namespace": "d", "uid": f"u{index}"}
    spec: dict = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "5Gi"}},
        "storageClassName": "c",
    }
    if bound:
        metadata["annotations"] = {"pv.kubernetes.io/bind-completed": "yes"}
        spec["volumeName"] = f"pv{index:05}"
    return {"metadata": metadata, "spec": spec, "status": {"phase": "Bound" if bound else "Pending"}}
