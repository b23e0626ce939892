"""PodTopologyLabels: a pod carries the zone and region of its node as labels of its own.

They are put into the binding, from where they get to the pod; or into a pod that is created on a node.
"""

from __future__ import annotations

from coxswain.api.names import GVR, NODES, PODS
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.lookup import Lookup

LABELS = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")


class PodTopologyLabels(Plugin):
    """See the module's text."""

    NAME = "PodTopologyLabels"

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return operation == "CREATE" and resource == PODS and subresource in ("", "binding")

    def repeats(self, request: Request) -> bool:
        return not ((request.object or {}).get("spec") or {}).get("nodeName")

    def admit(self, request: Request) -> None:
        obj = request.object
        assert obj is not None
        if request.subresource:
            target = obj.get("target") or {}
            node = target.get("name") if target.get("kind") == "Node" else ""
        else:
            node = (obj.get("spec") or {}).get("nodeName")
        if not node:
            return
        labels = self._lookup.labels(NODES, "", node)
        found = {key: labels[key] for key in LABELS if key in labels}
        if found:
            obj["metadata"]["labels"] = {**(obj["metadata"].get("labels") or {}), **found}
