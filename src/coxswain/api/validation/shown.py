"""How Go prints the values of field errors: structs of the internal API, with their own names and order.

Kubernetes validates internal types that have no JSON names, so a message shows ``{"MinAvailable":1,...}``
with every field, null where unset. Only values that messages really show are described here.
"""

from __future__ import annotations

from typing import Any

import orjson

from coxswain.api.fields import Shown
from coxswain.api.names import Object


def go_struct(obj: Object | None, *fields: str) -> Shown:
    """``obj`` as the internal struct with ``fields`` (in the struct's order), absent ones as null."""
    if obj is None:
        return Shown("null")
    parts = [f'"{_go_name(name)}":{_go_value(obj.get(name))}' for name in fields]
    return Shown("{" + ",".join(parts) + "}")


_INITIALISMS = {"seLinuxOptions": "SELinuxOptions", "clientIP": "ClientIP"}


def _go_name(name: str) -> str:
    return _INITIALISMS.get(name) or name[0].upper() + name[1:]


def _go_value(value: Any) -> str:
    if isinstance(value, Shown):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join(f'"{_go_name(key)}":{_go_value(item)}' for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_go_value(item) for item in value) + "]"
    return orjson.dumps(value).decode()


def security_context(context: Object) -> Shown:
    """core.SecurityContext."""
    return go_struct(
        context,
        "capabilities",
        "privileged",
        "seLinuxOptions",
        "windowsOptions",
        "runAsUser",
        "runAsGroup",
        "runAsNonRoot",
        "readOnlyRootFilesystem",
        "allowPrivilegeEscalation",
        "procMount",
        "seccompProfile",
        "appArmorProfile",
    )
