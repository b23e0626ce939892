"""The question that authorization answers, and how a refusal is worded."""

from __future__ import annotations

from typing import NamedTuple

from coxswain.api import errors
from coxswain.api.fields import quote
from coxswain.api.names import GVR
from coxswain.client.interface import UserInfo


class Attributes(NamedTuple):
    """Who wants to do what. ``verb`` is RBAC's (get, list, ...; for paths the lower-case method).

    A resource request has ``resource`` (plural) and possibly ``subresource``, ``namespace`` and ``name``;
    any other has ``path``. ``field_selector`` and ``label_selector`` are the text of what narrows a list,
    watch or deletion of a collection (see ``authz.selectors``).
    """

    user: UserInfo
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    is_resource: bool = True
    field_selector: str = ""
    label_selector: str = ""


class Decision(NamedTuple):
    """``reason`` says why it is allowed, or what went wrong on the way to a refusal (may be empty).

    Not allowed means "no opinion": the next authorizer is asked. ``denied`` ends the matter.
    ``error`` is what went wrong while finding out.
    """

    allowed: bool
    reason: str = ""
    denied: bool = False
    error: str = ""


def forbidden(attributes: Attributes, reason: str = "") -> errors.Forbidden:
    """The refusal in Kubernetes' words (apiserver ``responsewriters.Forbidden``)."""
    text = _describe(attributes)
    if reason:
        text = f"{text}: {reason}"
    if not attributes.is_resource:
        return errors.forbidden(GVR("", "", ""), "", text)
    resource = GVR(attributes.group, attributes.version, attributes.resource)
    return errors.forbidden(resource, attributes.name, text)


def _describe(attributes: Attributes) -> str:
    user = quote(attributes.user.name)
    if not attributes.is_resource:
        return f"User {user} cannot {attributes.verb} path {quote(attributes.path)}"
    resource = attributes.resource
    if attributes.subresource:
        resource = f"{resource}/{attributes.subresource}"
    text = f"User {user} cannot {attributes.verb} resource {quote(resource)} in API group {quote(attributes.group)}"
    if attributes.namespace:
        return f"{text} in the namespace {quote(attributes.namespace)}"
    return f"{text} at the cluster scope"
