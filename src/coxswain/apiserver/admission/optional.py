"""Plugins that are off unless ``--enable-admission-plugins`` names them.

AlwaysPullImages            every image is pulled for every pod, so that credentials are asked for
DenyServiceExternalIPs      no new external addresses of services
ExtendedResourceToleration  who asks for a device tolerates the taint that keeps others away from it
AlwaysAdmit, AlwaysDeny     for tests of clients
"""

from __future__ import annotations

from collections.abc import Iterator

from coxswain.api.names import GVR, PODS, SERVICES, Object
from coxswain.api.quota.names import is_extended
from coxswain.apiserver.admission.request import Operation, Plugin, Request

_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


def _containers(pod: Object) -> Iterator[tuple[str, int, Object]]:
    spec = pod.get("spec") or {}
    for field in _CONTAINERS:
        for position, container in enumerate(spec.get(field) or ()):
            yield field, position, container


class AlwaysPullImages(Plugin):
    """Sets every pull policy to Always, and lets no other pass."""

    NAME = "AlwaysPullImages"

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        if resource != PODS or operation not in ("CREATE", "UPDATE"):
            return False
        return subresource in ("", "ephemeralcontainers")

    def admit(self, request: Request) -> None:
        if not _brings_images(request):
            return
        for _, _, container in _containers(request.object or {}):
            container["imagePullPolicy"] = "Always"
        for volume in ((request.object or {}).get("spec") or {}).get("volumes") or ():
            if volume.get("image"):
                volume["image"]["pullPolicy"] = "Always"

    def validate(self, request: Request) -> None:
        if not _brings_images(request):
            return
        problems = [
            f'spec.{field}[{position}].imagePullPolicy: Unsupported value: "{container.get("imagePullPolicy") or ""}"'
            ': supported values: "Always"'
            for field, position, container in _containers(request.object or {})
            if container.get("imagePullPolicy") != "Always"
        ]
        if problems:
            raise request.forbidden(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")


def _brings_images(request: Request) -> bool:
    """Whether the request is about images that the pod did not have before."""
    if request.operation != "UPDATE":
        return True
    old = {container.get("image") for _, _, container in _containers(request.old_object or {})}
    return any(container.get("image") not in old for _, _, container in _containers(request.object or {}))


class DenyServiceExternalIPs(Plugin):
    """Keeps those that are there, and lets none be added."""

    NAME = "DenyServiceExternalIPs"

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return operation in ("CREATE", "UPDATE") and resource == SERVICES

    def validate(self, request: Request) -> None:
        new, old = (
            set(((one or {}).get("spec") or {}).get("externalIPs") or ())
            for one in (request.object, request.old_object)
        )
        if not new <= old:
            raise request.forbidden("Use of external IPs is denied by admission control")


class ExtendedResourceToleration(Plugin):
    """Adds the tolerations to new pods."""

    NAME = "ExtendedResourceToleration"

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return operation in ("CREATE", "UPDATE") and resource == PODS and not subresource

    def admit(self, request: Request) -> None:
        pod = request.object or {}
        asked = {
            name
            for field, _, container in _containers(pod)
            if field != "ephemeralContainers"
            for name in (container.get("resources") or {}).get("requests") or ()
            if is_extended(name)
        }
        spec = pod.get("spec") or {}
        tolerations = list(spec.get("tolerations") or ())
        for name in sorted(asked):
            wanted = {"key": name, "operator": "Exists", "effect": "NoSchedule"}
            if wanted not in tolerations:
                tolerations.append(wanted)
        if tolerations:
            spec["tolerations"] = tolerations


class AlwaysAdmit(Plugin):
    """Has nothing to say."""

    NAME = "AlwaysAdmit"


class AlwaysDeny(Plugin):
    """Refuses every write."""

    NAME = "AlwaysDeny"

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return True

    def admit(self, request: Request) -> None:
        raise request.forbidden("admission control is denying all modifications")


#: By name; the second is the default plugin before which it stands in Kubernetes' order, "" is the end.
OPTIONAL: dict[str, tuple[type[Plugin], str]] = {
    AlwaysAdmit.NAME: (AlwaysAdmit, "NamespaceLifecycle"),
    AlwaysPullImages.NAME: (AlwaysPullImages, "PodSecurity"),
    ExtendedResourceToleration.NAME: (ExtendedResourceToleration, "DefaultStorageClass"),
    DenyServiceExternalIPs.NAME: (DenyServiceExternalIPs, "PodTopologyLabels"),
    AlwaysDeny.NAME: (AlwaysDeny, ""),
}
