"""The Endpoints that a service and its pods call for (Kubernetes' ``endpoints_controller.go``)."""

from __future__ import annotations

from collections.abc import Callable

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.controllers.endpoints.members import Members
from coxswain.controllers.services import HEADLESS_LABEL, is_headless

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
CONTROLLER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"


def desired(
    service: Object, members: Members, find: Callable[[str], Object | None], current: Object | None
) -> Object:
    """The Endpoints object as it should be; metadata that others set on ``current`` stays.

    ``find`` gives a pod by ``namespace/name``.
    """
    subsets, cut = members.subsets(find)
    labels = dict(meta.labels(service))
    labels.pop(HEADLESS_LABEL, None)
    if is_headless(service):
        labels[HEADLESS_LABEL] = ""
    labels[MANAGED_BY] = CONTROLLER
    metadata: Object = dict(current["metadata"]) if current is not None else {}
    annotations = {
        key: value for key, value in meta.annotations(current or {}).items() if key != OVER_CAPACITY
    }
    if cut:
        annotations[OVER_CAPACITY] = "truncated"
    metadata |= {"name": meta.name(service), "namespace": meta.namespace(service), "labels": labels}
    metadata.pop("annotations", None)
    if annotations:
        metadata["annotations"] = annotations
    result: Object = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata}
    if subsets:
        result["subsets"] = subsets
    return result
