"""A binding written into the bytes of a pod, where nothing has happened to the pod since it was created.

Nearly every pod that is bound is fresh: no node, no gates, no conditions, not being deleted. Then a binding adds
things at known places, and the pod need not be decoded and encoded again, which is a third of the work:

    ..."labels":{ + "topology.kubernetes.io/zone":"a", ..."spec":{ + "nodeName":"n", ...
        ,"status":{"phase":"Pending","qosClass":"Burstable" + ,"conditions":[...]}}

Labels come with almost every binding: those of the node's zone and region, from admission.

Whatever is not plainly so (``None``) is for the ordinary way. What makes the look at bytes safe: our encoder writes
kind, apiVersion and metadata first, quotes within strings are escaped, fields that a pod does not have were
dropped when it was decoded, and the resourceVersion is spliced in as the first field of metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson

from coxswain.api.names import Object
from coxswain.apiserver.watchcache import Item
from coxswain.base import clock

_METADATA: Final = b'"metadata":{'
_LABELS: Final = b'"labels":{'
_SPEC: Final = b',"spec":{"'
_FRESH: Final = tuple(
    b',"status":{"phase":"Pending","qosClass":"%b"}}' % quality
    for quality in (b"BestEffort", b"Burstable", b"Guaranteed")
)
#: Fields that say that a pod is not fresh, or that this is not for here to judge.
_SPEC_MARKS: Final = (b'"nodeName":', b'"schedulingGates":')
_DELETED: Final = b'"deletionTimestamp":'
_TIME_LENGTH: Final = len("2026-01-02T03:04:05Z")
_CREATED: Final = b'"creationTimestamp":"'


def assigned(item: Item, uid: str, node: str, labels: Mapping[str, str] | None = None) -> bytes | None:
    """The value to store when pod ``item`` goes to ``node``; None if the pod must be looked at as a whole.

    ``uid`` is the one that the binding demands, empty for any; ``node`` is a valid name; ``labels`` are to be added.
    """
    raw = item.raw
    if not raw.endswith(_FRESH):
        return None
    revision = b'"resourceVersion":"%d",' % item.revision
    start = raw.find(_METADATA) + len(_METADATA)
    spec = raw.find(_SPEC)
    if spec < 0 or not raw.startswith(revision, start) or raw.find(_DELETED, 0, spec) >= 0:
        return None
    if uid and not _is_its_uid(raw, spec, uid.encode()):
        return None
    if any(raw.find(mark, spec) >= 0 for mark in _SPEC_MARKS):
        return None
    start += len(revision)
    metadata = _labelled(raw, start, spec, item.labels, labels) if labels else raw[start:spec]
    if metadata is None:
        return None
    return b'%b%b%b"nodeName":"%b",%b,"conditions":[%b]}}' % (
        raw[: start - len(revision)],
        metadata,
        _SPEC[:-1],
        node.encode(),
        raw[spec + len(_SPEC) - 1 : -2],
        orjson.dumps(scheduled()),
    )


def scheduled() -> Object:
    """The condition of a pod that is bound now."""
    return {
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": clock.timestamp(),
    }


def _labelled(
    raw: bytes, start: int, end: int, present: Mapping[str, str], added: Mapping[str, str]
) -> bytes | None:
    """The fields of metadata, ``raw[start:end]``, with labels ``added`` to those ``present``; None if that is not plain."""
    at = raw.find(_LABELS, start, end)
    if not present:
        # What looks like labels is then something else, such as an empty map or a field in managedFields.
        return None if at >= 0 else b"%b%b},%b" % (_LABELS, _members(added), raw[start:end])
    at += len(_LABELS)
    if raw.find(_LABELS, at, end) >= 0 or not present.keys().isdisjoint(added):
        return None
    return b"%b%b,%b" % (raw[start:at], _members(added), raw[at:end])


def _members(labels: Mapping[str, str]) -> bytes:
    return orjson.dumps(labels)[1:-1]


def _is_its_uid(raw: bytes, end: int, uid: bytes) -> bool:
    """Whether metadata, which ends before ``end``, has this uid of its own: the server writes it behind the time."""
    at = raw.find(b'","uid":"%b"' % uid, 0, end)
    return at >= 0 and raw.startswith(_CREATED, at - _TIME_LENGTH - len(_CREATED))
