"""Selectors of webhooks and policies: whether a request's namespace and objects are among those they are about."""

from __future__ import annotations

from coxswain.api import errors, meta, selectors
from coxswain.api.names import NAMESPACES, Object
from coxswain.api.selectors import Selector
from coxswain.apiserver.admission.request import Request
from coxswain.apiserver.lookup import Lookup


def compile_selector(raw: Object | None) -> Selector | None:
    """A LabelSelector as it is stored; None for what selects everything."""
    if not raw or not (raw.get("matchLabels") or raw.get("matchExpressions")):
        return None
    return selectors.label_selector_from(raw)


def namespace_matches(selector: Selector | None, request: Request, lookup: Lookup) -> bool:
    """Whether the namespace is selected, that of a Namespace being itself; what has none always is.

    Raises ``NotFound`` for a namespace that is not there.
    """
    name = request.scope_namespace
    if selector is None or (not name and request.resource != NAMESPACES):
        return True
    if request.resource == NAMESPACES and not request.subresource and request.object is not None:
        return selector.matches(meta.labels(request.object))
    namespace = lookup.get(NAMESPACES, "", name)
    if namespace is None:
        raise errors.not_found(NAMESPACES, name)
    return selector.matches(meta.labels(namespace))


def objects_match(selector: Selector | None, request: Request) -> bool:
    """Whether the object, as it is to be or as it was, is selected."""
    if selector is None:
        return True
    return any(
        obj is not None and selector.matches(meta.labels(obj)) for obj in (request.object, request.old_object)
    )
