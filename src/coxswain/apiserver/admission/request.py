"""What admission sees: one write, and the contract of a plugin.

A plugin is one small module with a class that has

    NAME                    as ``--enable-admission-plugins`` knows it
    handles(op, gvr, sub)   whether it wants such requests at all (asked once per combination, then cached)
    admit(request)          may change ``request.object`` in place, may raise        (mutating)
    validate(request)       may raise, must not change anything                      (validating)

Failures are ``ApiError``s: mostly ``Forbidden``. Plugins are synchronous and read other objects through
``Lookup`` only, so that a write costs no awaits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from coxswain.api import errors
from coxswain.api.names import GVR, Object
from coxswain.client.interface import UserInfo

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


@dataclass(slots=True)
class Request:
    """One write on its way to the store.

    ``object`` is None for DELETE, ``old_object`` for CREATE; neither ``old_object`` nor anything that a
    ``Lookup`` returns may be changed. ``name`` is empty for a create with ``generateName``.
    ``options`` are the decoded Create/Update/DeleteOptions. ``warnings`` are sent to the client,
    ``annotations`` belong to the audit event.
    """

    user: UserInfo
    operation: Operation
    resource: GVR
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    object: Object | None = None
    old_object: Object | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)

    def forbidden(self, why: str) -> errors.Forbidden:
        """``pods "a" is forbidden: why``, as ``admission.NewForbidden`` words it."""
        return errors.forbidden(self.resource, self.display_name, why)

    @property
    def display_name(self) -> str:
        """The object's name or, before one was generated, its prefix (Kubernetes' ``extractResourceName``)."""
        if self.name:
            return self.name
        meta = (self.object or {}).get("metadata") or {}
        return str(meta.get("name") or meta.get("generateName") or "Unknown")


class Plugin:
    """Base of the plugins: handles nothing, admits everything."""

    NAME: ClassVar[str] = ""

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        """Whether requests of this shape concern the plugin. Must depend on its arguments only."""
        return False

    def admit(self, request: Request) -> None:
        """Complete ``request.object``; raise ``ApiError`` to refuse."""

    def validate(self, request: Request) -> None:
        """Raise ``ApiError`` to refuse."""
