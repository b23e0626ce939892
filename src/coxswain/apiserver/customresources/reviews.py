"""ConversionReviews: the question to a conversion webhook, and its answer, checked. Pure.

    review(version, uid, api_version, objects) -> bytes
    converted(body, version, uid, api_version, objects) -> list[Object]      raises ``ConversionFailedError``

Metadata stays as it was but for labels and annotations; kind, name, namespace and uid may not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from coxswain.api.fields import quote
from coxswain.api.names import Object

_GROUP: Final = "apiextensions.k8s.io"
_KNOWN: Final = ("v1", "v1beta1")


class ConversionFailedError(Exception):
    """A conversion that did not come about; the text is Kubernetes'."""


def review_version(accepted: Sequence[str]) -> str:
    """The first version of ConversionReview that both sides know. Raises ``ConversionFailedError``."""
    for version in accepted:
        if version in _KNOWN:
            return version
    raise ConversionFailedError("no supported conversion review versions")


def review(version: str, uid: str, api_version: str, objects: Sequence[Object]) -> bytes:
    """The JSON of the question."""
    asked = {"uid": uid, "desiredAPIVersion": api_version, "objects": list(objects)}
    return orjson.dumps({"kind": "ConversionReview", "apiVersion": f"{_GROUP}/{version}", "request": asked})


def converted(
    body: bytes, version: str, uid: str, api_version: str, objects: Sequence[Object]
) -> list[Object]:
    """What the answer makes of the objects. Raises ``ConversionFailedError``."""
    what = f"conversion webhook for {shown_kind(objects[0])}"
    found = _objects(body, version, uid, what)
    if len(found) != len(objects):
        raise ConversionFailedError(f"{what} returned {len(found)} objects, expected {len(objects)}")
    return [
        _restored(original, made, api_version, f"{what} returned invalid", position)
        for position, (original, made) in enumerate(zip(objects, found, strict=True))
    ]


def shown_kind(obj: Object) -> str:
    """``example.com/v1, Kind=Boat``."""
    return f"{obj.get('apiVersion')}, Kind={obj.get('kind')}"


def _objects(body: bytes, version: str, uid: str, what: str) -> list[Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ConversionFailedError(f"{what} failed: {error}") from None
    answer = answer if isinstance(answer, dict) else {}
    response = answer.get("response")
    if version == "v1":
        kind = f"{answer.get('apiVersion') or ''}, Kind={answer.get('kind') or ''}"
        wanted = f"{_GROUP}/v1, Kind=ConversionReview"
        if kind != wanted:
            raise ConversionFailedError(f"{what} failed: expected webhook response of {wanted}, got {kind}")
    if not isinstance(response, dict):
        raise ConversionFailedError(f"{what} failed: no response provided")
    if version == "v1" and response.get("uid") != uid:
        given = quote(str(response.get("uid") or ""))
        raise ConversionFailedError(f"{what} failed: expected response.uid={quote(uid)}, got {given}")
    result = response.get("result") or {}
    if result.get("status") != "Success":
        why = (
            result.get("message")
            or f"response.result.status was '{result.get('status') or ''}', not 'Success'"
        )
        raise ConversionFailedError(f"{what} failed: {why}")
    return list(response.get("convertedObjects") or ())


def _restored(original: Object, made: Any, api_version: str, what: str, position: int) -> Object:
    """The converted object with the metadata that it had."""
    where = f"{what} object at index {position}"
    if not isinstance(made, dict):
        raise ConversionFailedError(f"{where}: it is no object")
    if made.get("apiVersion") != api_version:
        given = made.get("apiVersion") or ""
        raise ConversionFailedError(
            f"{where}: invalid groupVersion (expected {api_version}, received {given})"
        )
    if made.get("kind") != original.get("kind"):
        kinds = f"expected {original.get('kind')}, received {made.get('kind') or ''}"
        raise ConversionFailedError(f"{where}: invalid kind ({kinds})")
    before, after = original.get("metadata") or {}, made.get("metadata")
    if after is None:
        raise ConversionFailedError(f"{what} metadata: missing metadata in converted object")
    if not isinstance(after, dict):
        raise ConversionFailedError(f"{what} metadata: invalid metadata in converted object")
    for name, word in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        old, new = before.get(name) or "", after.get(name) or ""
        if old != new:
            raise ConversionFailedError(f"{what} object: must have the same {word}: {old} != {new}")
    metadata = {name: value for name, value in before.items() if name not in ("labels", "annotations")}
    for name in ("labels", "annotations"):
        texts = after.get(name)
        if texts is None:
            continue
        if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
            raise ConversionFailedError(
                f"{what} metadata: invalid metadata.{name} in converted object: no map of strings"
            )
        metadata[name] = texts
    return {**made, "metadata": metadata}
