"""Other versions of a resource: what a webhook that asks for ``Equivalent`` requests is shown.

Autoscalers and events are served in several versions, custom resources in as many as their definition says.
All versions of one resource lie in one place of the store; that makes them equivalent.
"""

from __future__ import annotations

import orjson

from coxswain.api import codec, errors
from coxswain.api.names import GVK, GVR, Object
from coxswain.apiserver.admission.request import Request
from coxswain.apiserver.registry import Registry


class Versions:
    """The versions that a registry serves."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def equivalents(self, resource: GVR) -> list[GVR]:
        """The resources that are this one in another version (or group), in the registry's order."""
        entry = self._registry.get(resource)
        if entry is None or not entry.prefix:
            return []
        return [other.gvr for other in self._registry if other.prefix == entry.prefix and other is not entry]

    def kind(self, resource: GVR, subresource: str) -> GVK:
        """The kind that a resource or its subresource takes. Raises ``InternalError`` for an unknown one."""
        entry = self._registry.get(resource)
        if entry is None:
            raise internal_error(f"unable to convert to {resource}: unknown kind")
        served = entry.resource.subresource(subresource) if subresource else None
        return served.kind if served is not None else entry.gvk

    def convert(self, obj: Object, source: GVR, target: GVR) -> Object:
        """``obj`` of ``source`` in the version of ``target``; a new object. Raises ``ApiError``."""
        before, after = self._registry.get(source), self._registry.get(target)
        if before is None or after is None:
            raise internal_error(f"unable to convert to {target}: unknown kind")
        # A copy, because what is converted gets the other version's defaults, in place.
        own: Object = orjson.loads(orjson.dumps(obj))
        stored = before.conversion.to_storage(own) if before.conversion else own
        return after.conversion.from_storage(stored) if after.conversion else stored

    def shown(self, obj: Object | None, request: Request, resource: GVR) -> Object | None:
        """An object of ``request`` as one sees it who knows ``resource`` instead. Raises ``ApiError``."""
        if obj is None or resource == request.resource:
            return obj
        if request.kind != self.kind(request.resource, ""):
            return obj  # a Scale is the same in all versions of what it scales
        return self.convert(obj, request.resource, resource)

    def settle(self, resource: GVR, kind: GVK, obj: Object) -> Object:
        """What a patch made, decoded and with defaults, as if it had been sent. Raises ``ApiError``."""
        entry = self._registry.get(resource)
        decoded = codec.conform(obj, kind, "Ignore").obj
        if entry is None or kind != entry.gvk:
            return decoded
        if entry.conform is not None:
            entry.conform(decoded)
        entry.rules.default(decoded)
        codec.complete(decoded, entry.gvk)
        return decoded


def internal_error(why: str) -> errors.InternalError:
    """``Internal error occurred: why``, as ``errors.NewInternalError`` words it."""
    return errors.InternalError(f"Internal error occurred: {why}", details={"causes": [{"message": why}]})
