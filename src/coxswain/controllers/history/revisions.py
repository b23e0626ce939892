"""Controller revisions as values: no IO here (Kubernetes' ``pkg/controller/history``).

A revision's data is a strategic merge patch that puts a template back:
``{"spec": {"template": {..., "$patch": "replace"}}}``. Revisions are numbered; the highest is the newest, and
going back to an older template gives its revision the next number instead of making another.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import orjson

from coxswain.api import meta
from coxswain.api.names import Object

#: On revisions of StatefulSets: the hash of their data.
HASH_LABEL = "controller.kubernetes.io/hash"
#: On pods: the revision they were made from (StatefulSet: its name; DaemonSet: its hash).
REVISION_LABEL = "controller-revision-hash"
#: Bytes of an owner's name that a revision's name keeps (``ControllerRevisionName``).
_LONGEST_PREFIX = 223


def data_of(owner: Object) -> Object:
    """The data of a revision with the owner's present template."""
    return {"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}}


def template_of(revision: Object) -> Object:
    """The pod template that ``revision`` puts back (``ApplyRevision``)."""
    template: Object = revision["data"]["spec"]["template"]
    return {name: value for name, value in template.items() if name != "$patch"}


def name_of(owner: Object, hashed: str) -> str:
    """A revision's name: the owner's, cut to leave room, and the hash."""
    return f"{meta.name(owner)[:_LONGEST_PREFIX]}-{hashed}"


def data_hash(data: Object, collision_count: int = 0) -> str:
    """The hash of a revision's data (``HashControllerRevision``); the count tells colliding data apart."""
    value = 0x811C9DC5
    for byte in orjson.dumps(data, option=orjson.OPT_SORT_KEYS) + str(collision_count).encode():
        value = (value * 0x01000193) & 0xFFFFFFFF ^ byte
    return meta.safe_encode(str(value))


def new_revision(owner: Object, number: int, hashed: str, labels: Mapping[str, str]) -> Object:
    """A revision to be created for the owner's present template; ``labels`` join the template's."""
    metadata: Object = {
        "name": name_of(owner, hashed),
        "namespace": meta.namespace(owner),
        "labels": {**meta.labels(owner["spec"]["template"]), **labels},
        "ownerReferences": [meta.owner_reference(owner)],
    }
    if meta.annotations(owner):
        metadata["annotations"] = dict(meta.annotations(owner))
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": metadata,
        "data": data_of(owner),
        "revision": number,
    }


def number_of(revision: Object) -> int:
    """Its place in the history."""
    return int(revision.get("revision") or 0)


def in_order(revisions: Sequence[Object]) -> list[Object]:
    """Oldest first; of one number, by age and name (``SortControllerRevisions``)."""
    return sorted(
        revisions,
        key=lambda one: (number_of(one), one["metadata"].get("creationTimestamp", ""), meta.name(one)),
    )


def next_number(revisions: Sequence[Object]) -> int:
    """One more than the newest of ``revisions``; 1 for the first."""
    return max(map(number_of, revisions), default=0) + 1


def holds_template(revision: Object, owner: Object) -> bool:
    """Whether ``revision`` remembers the owner's present template (however its keys are ordered)."""
    return bool(revision.get("data") == data_of(owner))


def beyond_limit(history: Sequence[Object], limit: int | None) -> list[Object]:
    """The oldest of ``history``, which holds no live revision, that the limit leaves no room for."""
    if limit is None or limit < 0:
        return []
    return in_order(history)[: max(0, len(history) - limit)]


def without_live(revisions: Sequence[Object], live: Collection[str]) -> list[Object]:
    """``revisions`` but those named in ``live``."""
    return [revision for revision in revisions if meta.name(revision) not in live]
