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
from functools import lru_cache
from typing import Final

import orjson

from coxswain.api.names import Object
from coxswain.apiserver.watchcache import Item
from coxswain.base import clock
from coxswain.base.memo import remembered

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
#: Texts of which is remembered what they hold: two kilobytes each, or so; and how long they may be.
_MOST_KNOWN: Final = 256
_LONGEST: Final = 16 << 10


def assigned(item: Item, uid: str, node: str, labels: Mapping[str, str] | None = None) -> bytes | None:
    """The value to store when pod ``item`` goes to ``node``; None if the pod must be looked at as a whole.

    ``uid`` is the one that the binding demands, empty for any; ``node`` is a valid name; ``labels`` are to be added.
    """
    raw = item.raw
    revision = b'"resourceVersion":"%d",' % item.revision
    start = raw.find(_METADATA) + len(_METADATA)
    # From behind, where they are near; what a spec holds of its own may look like them, and is found out below.
    spec = raw.rfind(_SPEC)
    created = raw.rfind(_CREATED, start, spec)
    if created < 0 or not raw.startswith(revision, start):
        return None
    start += len(revision)
    head, own = raw[start:created], raw[created:spec]
    around = _around_node(raw[spec:])
    if around is None or _DELETED in own or _SPEC in own:
        return None
    if uid and not own.startswith(b'","uid":"%b"' % uid.encode(), len(_CREATED) + _TIME_LENGTH):
        return None
    if _LABELS in own:
        head, own = head + own, b""
    at = _labels_at(head)
    if at is None:
        return None
    if labels:
        present = item.labels
        if not present:
            # What looks like labels is then something else, such as an empty map or a field in managedFields.
            if at >= 0:
                return None
            head = b"%b%b},%b" % (_LABELS, _members(labels), head)
        elif at < 0 or not present.keys().isdisjoint(labels):
            return None
        else:
            head = b"%b%b,%b" % (head[:at], _members(labels), head[at:])
    before, after = around
    front = raw[: start - len(revision)]
    return b"".join((front, head, own, before, node.encode(), after, _condition(clock.timestamp())))


@remembered(_MOST_KNOWN, _LONGEST)
def _labels_at(head: bytes) -> int | None:
    """Where labels begin in the metadata that pods of one moment have alike; -1: nowhere; None: that is not plain."""
    if _DELETED in head or _SPEC in head:
        return None
    at = head.find(_LABELS)
    if at < 0:
        return -1
    at += len(_LABELS)
    return at if head.find(_LABELS, at) < 0 else None


@remembered(_MOST_KNOWN, _LONGEST)
def _around_node(tail: bytes) -> tuple[bytes, bytes] | None:
    """Spec and status, cut where the name of the node goes, up to the conditions; None if the pod is not fresh."""
    if not tail.endswith(_FRESH) or any(mark in tail for mark in _SPEC_MARKS):
        return None
    rest = tail[len(_SPEC) - 1 : -2]
    return _SPEC[:-1] + b'"nodeName":"', b'",%b,"conditions":[' % rest


@lru_cache(1)
def _condition(now: str) -> bytes:
    """The condition of a pod that is bound now, and the end of the pod."""
    return orjson.dumps(scheduled()) + b"]}}"


def scheduled() -> Object:
    """The condition of a pod that is bound now."""
    return {
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": clock.timestamp(),
    }


def _members(labels: Mapping[str, str]) -> bytes:
    return orjson.dumps(labels)[1:-1]
