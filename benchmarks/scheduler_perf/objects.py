"""Nodes and pods of the Kubernetes project's scheduler_perf workloads."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def node(index: int, zones: int = 3) -> Object:
    """4 CPU, 32Gi, 110 pods; zones given round robin."""
    name = f"node-{index}"
    resources = {"cpu": "4", "memory": "32Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": str(index + 1),
            "labels": {
                "kubernetes.io/hostname": name,
                "topology.kubernetes.io/zone": f"zone{index % zones}",
            },
        },
        "spec": {},
        "status": {"allocatable": resources, "capacity": resources},
    }


def pod(index: int, cpu: str = "100m") -> Object:
    """One container that asks for (and is limited to) 100m and 500Mi, with everything the API server adds."""
    name = f"pod-{index}"
    resources = {"cpu": cpu, "memory": "500Mi"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "generateName": "pod-",
            "namespace": "sched-1",
            "uid": f"00000000-0000-0000-0000-{index:012d}",
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "containers": [
                {
                    "name": "pause",
                    "image": "registry.k8s.io/pause:3.10",
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "resources": {"limits": resources, "requests": resources},
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                    "imagePullPolicy": "IfNotPresent",
                }
            ],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "securityContext": {},
            "schedulerName": "default-scheduler",
            "tolerations": [
                {
                    "key": key,
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": 300,
                }
                for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
            ],
            "priority": 0,
            "enableServiceLinks": True,
            "preemptionPolicy": "PreemptLowerPriority",
        },
        "status": {"phase": "Pending", "qosClass": "Guaranteed"},
    }
