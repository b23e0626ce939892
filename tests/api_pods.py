"""The pod that the rules of pods are tried on, the paths of its parts, and the edits that many rows make."""

from __future__ import annotations

from typing import Any

from api_rules import Edits, make
from coxswain.api.names import Object

# A name without AT is the path in an edit; with AT, in a complaint.
C = "spec.containers.0"
AT = "spec.containers[0]"
INIT = "spec.initContainers.0"
DEBUG = "spec.ephemeralContainers.0"
CONTAINER = {"name": "d", "image": "i"}
VOLUME = {"spec.volumes.0": {"name": "v", "emptyDir": {}}}
BLOCK = {"spec.volumes.0": {"name": "v", "persistentVolumeClaim": {"claimName": "p"}}}
P = "spec.securityContext"
S = f"{C}.securityContext"
AT_S = f"{AT}.securityContext"
SECCOMP = "seccomp.security.alpha.kubernetes.io/pod"
APPARMOR = "container.apparmor.security.beta.kubernetes.io"
R = f"{C}.resources"
AT_R = f"{AT}.resources"
HUGE = "hugepages-2Mi"


def pod(**spec: Any) -> Object:
    return make("v1", "Pod", spec={"containers": [{"name": "c", "image": "i"}], **spec})


def env(source: Object) -> Edits:
    return {f"{C}.env.0": {"name": "A", "valueFrom": source}}


def mount(**fields: Any) -> Edits:
    return {**VOLUME, f"{C}.volumeMounts.0": {"name": "v", "mountPath": "/v", **fields}}


def device(**fields: Any) -> Edits:
    return {**BLOCK, f"{C}.volumeDevices.0": {"name": "v", "devicePath": "/dev/v", **fields}}
