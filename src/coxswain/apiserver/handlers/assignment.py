"""A binding written into the bytes of a pod, where nothing has happened to the pod since it was created.

Nearly every pod that is bound is fresh: no node, no gates, no conditions, not being deleted. Then a binding adds
two things at known places, and the pod need not be decoded and encoded again, which is a third of the work:

    ..."spec":{ + "nodeName":"n", ...  ,"status":{"phase":"Pending","qosClass":"Burstable" + ,"conditions":[...]}}

Whatever is not plainly so (``None``) is for the ordinary way. What makes the look at bytes safe: our encoder writes
kind, apiVersion and metadata first, quotes within strings are escaped, fields that a pod does not have were
dropped when it was decoded, and the resourceVersion is spliced in as the first field of metadata.
"""

from __future__ import annotations

from typing import Final

import orjson

from coxswain.api.names import Object
from coxswain.apiserver.watchcache import Item
from coxswain.base import clock

_METADATA: Final = b'"metadata":{'
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


def assigned(item: Item, uid: str, node: str) -> bytes | None:
    """The value to store when pod ``item`` goes to ``node``; None if the pod must be looked at as a whole.

    ``uid`` is the one that the binding demands, empty for any; ``node`` is a valid name.
    """
    raw = item.raw
    if not raw.endswith(_FRESH):
        return None
    revision = b'"resourceVersion":"%d",' % item.revision
    metadata = raw.find(_METADATA) + len(_METADATA)
    spec = raw.find(_SPEC)
    if spec < 0 or not raw.startswith(revision, metadata) or raw.find(_DELETED, 0, spec) >= 0:
        return None
    if uid and not _is_its_uid(raw, spec, uid.encode()):
        return None
    if any(raw.find(mark, spec) >= 0 for mark in _SPEC_MARKS):
        return None
    spec += len(_SPEC) - 1
    return b'%b%b"nodeName":"%b",%b,"conditions":[%b]}}' % (
        raw[:metadata],
        raw[metadata + len(revision) : spec],
        node.encode(),
        raw[spec:-2],
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


def _is_its_uid(raw: bytes, end: int, uid: bytes) -> bool:
    """Whether metadata, which ends before ``end``, has this uid of its own: the server writes it behind the time."""
    at = raw.find(b'","uid":"%b"' % uid, 0, end)
    return at >= 0 and raw.startswith(_CREATED, at - _TIME_LENGTH - len(_CREATED))
