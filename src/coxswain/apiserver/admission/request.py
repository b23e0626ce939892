"""What admission sees: one write, and the contract of a plugin.

A plugin is one small module with a class that has

    NAME                    as ``--enable-admission-plugins`` knows it
    WATCHES                 the resources that its ``handles`` depends on, beside the arguments
    handles(op, gvr, sub)   whether it wants such requests at all (asked once per combination, then cached
                            until a watched resource changes)
    admit(request)          may change ``request.object`` in place, may raise        (mutating)
    validate(request)       may raise, must not change anything                      (validating)
    repeats(request)        whether it would do the same again, for another create of an equal object by the
                            same user, as long as nothing of READS changes (else it is asked every time)
    READS                   the resources that such answers depend on

Failures are ``ApiError``s: mostly ``Forbidden``. Plugins read other objects through ``Lookup`` only, so that a
write costs no awaits. Only where one has to wait for something outside (a webhook, the store) for *this*
request does it return an awaitable; the chain goes on when that is done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from coxswain.api import errors
from coxswain.api.names import GVK, GVR, NAMESPACES, Object
from coxswain.apiserver.audit.annotations import CURRENT
from coxswain.client.interface import UserInfo

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


def _audited() -> dict[str, str]:
    """The annotations of the audit events of the request that is at work; where it is not audited, nobody's."""
    annotations = CURRENT.get()
    return {} if annotations is None else annotations


@dataclass(slots=True)
class Request:
    """One write on its way to the store.

    ``object`` is None for DELETE, ``old_object`` for CREATE; neither ``old_object`` nor anything that a
    ``Lookup`` returns may be changed. ``name`` is empty for a create with ``generateName``.
    ``options`` are the decoded Create/Update/DeleteOptions. ``warnings`` are sent to the client,
    ``annotations`` belong to the audit event.

    A mutating policy or webhook that changed the object may set ``reinvoke``: then every mutating plugin is
    called once more, with ``reinvoked`` set. ``memory`` is theirs to remember in, by plugin name.
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
    annotations: dict[str, str] = field(default_factory=_audited)
    reinvoke: bool = False
    reinvoked: bool = False
    memory: dict[str, Any] | None = None

    def forbidden(self, why: str) -> errors.Forbidden:
        """``pods "a" is forbidden: why``, as ``admission.NewForbidden`` words it."""
        return errors.forbidden(self.resource, self.display_name, why)

    @property
    def kind(self) -> GVK:
        """The kind of the object, which is the subresource's own where that has one (``Binding``)."""
        obj = self.object or self.old_object or {}
        group, _, version = str(obj.get("apiVersion") or "").rpartition("/")
        return GVK(group, version, str(obj.get("kind") or ""))

    @property
    def scope_namespace(self) -> str:
        """The namespace as selectors and webhooks see it: that of a Namespace is its own name."""
        return self.name if self.resource == NAMESPACES else self.namespace

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
    WATCHES: ClassVar[tuple[GVR, ...]] = ()
    READS: ClassVar[tuple[GVR, ...]] = ()

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        """Whether requests of this shape concern the plugin: a matter of the arguments and of ``WATCHES`` only."""
        return False

    def admit(self, request: Request) -> Awaitable[None] | None:
        """Complete ``request.object``; raise ``ApiError`` to refuse."""
        return None

    def validate(self, request: Request) -> Awaitable[None] | None:
        """Raise ``ApiError`` to refuse."""
        return None

    def repeats(self, request: Request) -> bool:
        """Whether equal requests get equal answers until ``READS`` changes; ``request`` has been admitted."""
        return False

    async def close(self) -> None:
        """Let go of what the plugin holds open. Idempotent."""
