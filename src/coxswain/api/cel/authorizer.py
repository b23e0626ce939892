"""The authorizer of policies: ``authorizer.group("").resource("pods").namespace("a").check("create").allowed()``.

An expression asks through an ``Authorizer``, which a caller makes for the user of a request; what decides is the
``decide`` function: ``Question`` in, ``Decision`` out. Values never change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from coxswain.api.cel.values import EvaluationError, overload
from coxswain.api.validation.formats import dns_label, dns_subdomain


@dataclass(frozen=True, slots=True)
class Question:
    """May this user do this? ``path`` is set for what is no resource. ``service_account`` is "namespace:name"."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    service_account: str = ""
    field_selector: str = ""
    label_selector: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer."""

    TYPE: ClassVar[str] = "kubernetes.authorization.Decision"
    allowed: bool
    reason: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Authorizer:
    """Asks for one user."""

    TYPE: ClassVar[str] = "kubernetes.authorization.Authorizer"
    decide: Callable[[Question], Decision]
    service_account: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class PathCheck:
    """About a path."""

    TYPE: ClassVar[str] = "kubernetes.authorization.PathCheck"
    authorizer: Authorizer
    path: str


@dataclass(frozen=True, slots=True, eq=False)
class GroupCheck:
    """About an API group."""

    TYPE: ClassVar[str] = "kubernetes.authorization.GroupCheck"
    authorizer: Authorizer
    group: str


@dataclass(frozen=True, slots=True, eq=False)
class ResourceCheck:
    """About a resource, growing more particular."""

    TYPE: ClassVar[str] = "kubernetes.authorization.ResourceCheck"
    authorizer: Authorizer
    question: Question


def _path(authorizer: Any, path: str) -> PathCheck:
    _need(Authorizer, authorizer, path)
    if not path.strip():
        raise EvaluationError("path must not be empty")
    return PathCheck(authorizer, path)


def _group(authorizer: Any, group: str) -> GroupCheck:
    _need(Authorizer, authorizer, group)
    return GroupCheck(authorizer, group)


def _service_account(authorizer: Any, namespace: str, name: str) -> Authorizer:
    _need(Authorizer, authorizer, namespace, name)
    if list(dns_subdomain(name)):
        raise EvaluationError("Invalid service account name")
    if list(dns_label(namespace)):
        raise EvaluationError("Invalid service account namespace")
    made: Authorizer = replace(authorizer, service_account=f"{namespace}:{name}")
    return made


def _resource(group: Any, resource: str) -> ResourceCheck:
    _need(GroupCheck, group, resource)
    if not resource.strip():
        raise EvaluationError("resource must not be empty")
    asked = Question("", group.group, resource, service_account=group.authorizer.service_account)
    return ResourceCheck(group.authorizer, asked)


def _narrowed(field: str) -> Callable[[Any, str], ResourceCheck]:
    def narrow(check: Any, value: str) -> ResourceCheck:
        _need(ResourceCheck, check, value)
        made: ResourceCheck = replace(check, question=replace(check.question, **{field: value}))
        return made

    return narrow


def _check(about: Any, verb: str) -> Decision:
    _need((PathCheck, ResourceCheck), about, verb)
    authorizer: Authorizer = about.authorizer
    if isinstance(about, PathCheck):
        account = authorizer.service_account
        return authorizer.decide(Question(verb, path=about.path, service_account=account))
    return authorizer.decide(replace(about.question, verb=verb))


def _of_decision(read: Callable[[Decision], Any]) -> Callable[[Any], Any]:
    def get(decision: Any) -> Any:
        _need(Decision, decision)
        return read(decision)

    return get


def _need(kind: Any, value: Any, *texts: Any) -> None:
    if not isinstance(value, kind) or not all(isinstance(text, str) for text in texts):
        raise overload(value)


def resource_check(authorizer: Authorizer, question: Question) -> ResourceCheck:
    """What ``authorizer.requestResource`` is: a check about the request's own resource."""
    return ResourceCheck(authorizer, question)


FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "path": _path,
    "group": _group,
    "serviceAccount": _service_account,
    "resource": _resource,
    "subresource": _narrowed("subresource"),
    "namespace": _narrowed("namespace"),
    "name": _narrowed("name"),
    "fieldSelector": _narrowed("field_selector"),
    "labelSelector": _narrowed("label_selector"),
    "check": _check,
    "allowed": _of_decision(lambda decision: decision.allowed),
    "errored": _of_decision(lambda decision: bool(decision.error)),
    "error": _of_decision(lambda decision: decision.error),
    "reason": _of_decision(lambda decision: decision.reason),
}
