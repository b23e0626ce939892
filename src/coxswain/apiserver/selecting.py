"""Which fields of a resource can be selected by, and lists' and watches' selectors as a ``Scope``.

Every resource has metadata.name (and metadata.namespace); the others are Kubernetes' own choice for each
kind (``AddFieldLabelConversionFunc``). Asking for another is a 400 in the words of that kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from coxswain.api import errors, selectors
from coxswain.api.fields import quote
from coxswain.api.names import Object
from coxswain.apiserver.watchers import Matcher, Scope
from coxswain.base.memo import remembered

Getter = Callable[[Object], str]


@dataclass(frozen=True, slots=True)
class Selectable:
    """The selectable fields of a kind besides its name and namespace.

    ``strict_words``: the kind has a conversion function of its own in Kubernetes, which refuses in other words.
    ``aliases``: other names, of another version or of old, and what they are called in the version stored.
    """

    names: tuple[str, ...] = ()
    getters: tuple[Getter, ...] = ()
    indexed: str = ""
    strict_words: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict)

    def values(self, obj: Object) -> tuple[str, ...]:
        """The fields of ``obj``, in the order of ``names``."""
        return tuple([getter(obj) for getter in self.getters])


def _path(path: str) -> Getter:
    parts = tuple(path.split("."))

    def get(obj: Object) -> str:
        value: Any = obj
        for part in parts:
            if not isinstance(value, dict):
                return ""
            value = value.get(part)
        if isinstance(value, str):
            return value
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value)

    return get


def _table(*paths: str, indexed: str = "", **special: Getter) -> Selectable:
    getters = tuple(special.get(path.replace(".", "_")) or _path(path) for path in paths)
    return Selectable(paths, getters, indexed, strict_words=True)


def _flag(path: str) -> Getter:
    get = _path(path)
    return lambda obj: get(obj) or "false"


def _number(path: str) -> Getter:
    get = _path(path)
    return lambda obj: get(obj) or "0"


@remembered(8192)
def _shared(text: str) -> str:
    """One and the same string for equal ones: a hundred thousand pods have a handful of different values."""
    return text


def _pod_values(obj: Object) -> tuple[str, ...]:
    spec = obj.get("spec") or {}
    status = obj.get("status") or {}
    return (
        _shared(spec.get("nodeName") or ""),
        _shared(spec.get("restartPolicy") or ""),
        _shared(spec.get("schedulerName") or ""),
        _shared(spec.get("serviceAccountName") or ""),
        "true" if spec.get("hostNetwork") else "false",
        _shared(status.get("phase") or ""),
        status.get("podIP") or "",
        status.get("nominatedNodeName") or "",
    )


def _event_values(obj: Object) -> tuple[str, ...]:
    about = obj.get("involvedObject") or {}
    reporter = _shared(obj.get("reportingComponent") or "")
    source = (obj.get("source") or {}).get("component")
    return (
        *[_shared(about.get(part) or "") for part in _REFERENCE],
        _shared(obj.get("reason") or ""),
        reporter,
        _shared(source) if source else reporter,
        _shared(obj.get("type") or ""),
    )


@dataclass(frozen=True, slots=True)
class _Busy(Selectable):
    """Of a kind that is written so often that its fields are taken at once."""

    take: Callable[[Object], tuple[str, ...]] = lambda obj: ()

    def values(self, obj: Object) -> tuple[str, ...]:
        return self.take(obj)


_PODS = _Busy(
    (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    (),
    "spec.nodeName",
    True,
    {"spec.host": "spec.nodeName", "status.podIPs": "status.podIPs"},
    _pod_values,
)

_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_EVENTS = _Busy(
    (
        *(f"involvedObject.{part}" for part in _REFERENCE),
        *("reason", "reportingComponent", "source", "type"),
    ),
    strict_words=True,
    take=_event_values,
)
_EVENTS_V1 = Selectable(
    strict_words=True,
    aliases={
        "reason": "reason",
        "type": "type",
        "reportingController": "reportingComponent",
        **{f"regarding.{part}": f"involvedObject.{part}" for part in _REFERENCE},
    },
)

SELECTABLE: dict[tuple[str, str], Selectable] = {
    ("", "pods"): _PODS,
    ("", "events"): _EVENTS,
    ("events.k8s.io", "events"): _EVENTS_V1,
    ("", "nodes"): _table("spec.unschedulable", spec_unschedulable=_flag("spec.unschedulable")),
    ("", "namespaces"): _table("status.phase"),
    ("", "secrets"): _table("type"),
    ("", "services"): _table("spec.clusterIP", "spec.type"),
    ("", "replicationcontrollers"): _table("status.replicas", status_replicas=_number("status.replicas")),
    ("batch", "jobs"): _table("status.successful", status_successful=_number("status.succeeded")),
    ("certificates.k8s.io", "certificatesigningrequests"): _table("spec.signerName"),
    ("resource.k8s.io", "resourceslices"): _table("spec.nodeName", "spec.driver"),
}
NOTHING = Selectable()


def custom(paths: tuple[str, ...]) -> Selectable:
    """The selectable fields of a custom resource, by JSON path without the leading dot."""
    return Selectable(paths, tuple(_path(path) for path in paths))


def scope_of(
    selectable: Selectable, namespaced: bool, namespace: str, name: str, query: Mapping[str, str]
) -> Scope:
    """The scope of a list or watch. Raises ``BadRequest`` for malformed or unknown selectors."""
    label_text = query.get("labelSelector") or ""
    field_text = query.get("fieldSelector") or ""
    if not label_text and not field_text:
        return Scope(namespace, name)
    labels: Matcher | None = None
    if label_text:
        label_selector = selectors.parse_label_selector(label_text)
        labels = None if label_selector.empty else label_selector
    fields: Matcher | None = None
    indexed: str | None = None
    if field_text:
        parsed = selectors.parse_field_selector(field_text)
        _check(parsed, selectable, namespaced)
        if selectable.aliases:
            parsed = _renamed(parsed, selectable.aliases)
        exact = {term.field: term.value for term in parsed.requirements if term.operator == "="}
        fields = None if parsed.empty else parsed
        indexed = exact.get(selectable.indexed) if selectable.indexed else None
        namespace = namespace or (exact.get("metadata.namespace", "") if namespaced else "")
        if namespace or not namespaced:
            # Elsewhere a name is one of many objects', in as many namespaces: the selector alone judges.
            name = name or exact.get("metadata.name", "")
    return Scope(namespace, name, labels, fields, indexed)


def _check(selector: selectors.FieldSelector, selectable: Selectable, namespaced: bool) -> None:
    """Refuse unknown fields."""
    known = {"metadata.name", *selectable.names, *selectable.aliases}
    if namespaced:
        known.add("metadata.namespace")
    for requirement in selector.requirements:
        if requirement.field not in known:
            raise errors.BadRequest(_refusal(requirement.field, selectable))


def _renamed(selector: selectors.FieldSelector, aliases: Mapping[str, str]) -> selectors.FieldSelector:
    return selectors.FieldSelector(
        [replace(term, field=aliases.get(term.field, term.field)) for term in selector.requirements]
    )


def _refusal(name: str, selectable: Selectable) -> str:
    if selectable.strict_words:
        return f"field label not supported: {name}"
    names = ", ".join(quote(known) for known in ("metadata.name", "metadata.namespace", *selectable.names))
    return f"{quote(name)} is not a known field selector: only {names}"
