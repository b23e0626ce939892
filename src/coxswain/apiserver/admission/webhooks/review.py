"""AdmissionReviews: the question to a webhook, and its answer, checked.

Both versions of the review are spoken; the first that the webhook lists and that we know is sent. An answer that
breaks the contract is a failed call (the failure policy decides), a proper refusal is the webhook's word.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

import orjson

from coxswain.api import errors
from coxswain.api.fields import json_kind, quote
from coxswain.api.names import GVK, GVR, Object
from coxswain.apiserver.admission.request import Request
from coxswain.apiserver.authn.users import user_info

V1 = "admission.k8s.io/v1"
V1BETA1 = "admission.k8s.io/v1beta1"
_KNOWN = {"v1": V1, "v1beta1": V1BETA1}
JSON_PATCH = "JSONPatch"


class CallFailedError(Exception):
    """A webhook could not be asked, or gave no valid answer; the text says why."""


@dataclass(slots=True)
class Verdict:
    """A webhook's answer. ``status`` is the Status of a refusal; ``patch`` a JSON patch, perhaps empty."""

    allowed: bool
    status: Object | None = None
    patch: bytes = b""
    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)


def review_version(accepted: tuple[str, ...]) -> str:
    """The apiVersion of the review to send. Raises ``CallFailedError``."""
    for version in accepted:
        if version in _KNOWN:
            return _KNOWN[version]
    raise CallFailedError(
        "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)"
    )


def admission_request(resource: GVR, kind: GVK, request: Request) -> Object:
    """The AdmissionRequest, but for its uid and the objects; ``resource`` and ``kind`` as the asked one knows them."""
    asked: Object = {
        "kind": _kind(kind),
        "resource": _resource(resource),
        "requestKind": _kind(request.kind),
        "requestResource": _resource(request.resource),
        "operation": request.operation,
        "userInfo": user_info(request.user),
        "dryRun": request.dry_run,
    }
    if request.subresource:
        asked["subResource"] = asked["requestSubResource"] = request.subresource
    if request.name:
        asked["name"] = request.name
    if request.scope_namespace:
        asked["namespace"] = request.scope_namespace
    asked["options"] = dict(request.options) or None
    return asked


def _kind(kind: GVK) -> Object:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _resource(resource: GVR) -> Object:
    return {"group": resource.group, "version": resource.version, "resource": resource.resource}


def review(
    version: str,
    uid: str,
    resource: GVR,
    kind: GVK,
    request: Request,
    obj: Object | None,
    old: Object | None,
) -> bytes:
    """The JSON of the AdmissionReview."""
    asked = {"uid": uid, **admission_request(resource, kind, request), "object": obj, "oldObject": old}
    return orjson.dumps({"kind": "AdmissionReview", "apiVersion": version, "request": asked})


def verdict(body: bytes, uid: str, version: str, *, mutating: bool) -> Verdict:
    """What the answer says. Raises ``CallFailedError``."""
    answer = _decoded(body)
    response = answer.get("response")
    if response is None:
        raise _invalid("webhook response was absent")
    if not isinstance(response, dict):
        raise _untyped(response, "AdmissionReview.response", "v1.AdmissionResponse")
    _check_types(response)
    if version == V1:
        _check_identity(answer, response, uid)
    patch = _patch(response)
    if mutating:
        _check_patch(response, patch, version)
    elif version == V1 and patch:
        raise _invalid("validating webhook may not return response.patch")
    elif version == V1 and response.get("patchType") is not None:
        raise _invalid("validating webhook may not return response.patchType")
    return Verdict(
        bool(response.get("allowed")),
        response.get("status"),
        patch if mutating else b"",
        list(response.get("warnings") or ()),
        dict(response.get("auditAnnotations") or {}),
    )


def _decoded(body: bytes) -> Object:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise CallFailedError(
            f"failed to call webhook: couldn't get version/kind; json parse error: {error}"
        ) from None
    if not isinstance(answer, dict):
        raise CallFailedError(
            "failed to call webhook: couldn't get version/kind; json parse error: json: cannot unmarshal "
            f"{json_kind(answer)} into Go value of type struct {{ APIVersion string; Kind string }}"
        )
    kind, version = answer.get("kind"), answer.get("apiVersion")
    if kind and kind != "AdmissionReview":
        raise CallFailedError(
            f'failed to call webhook: no kind "{kind}" is registered for version "{version}" in scheme'
        )
    return answer


def _check_identity(answer: Object, response: Object, uid: str) -> None:
    if response.get("uid") != uid:
        raise _invalid(f"expected response.uid={quote(uid)}, got {quote(response.get('uid') or '')}")
    version, kind = answer.get("apiVersion") or "", answer.get("kind") or ""
    if version != V1 or kind != "AdmissionReview":
        got = f"{version if '/' in version else '/' + version}, Kind={kind}"
        raise _invalid(f"expected webhook response of {V1}, Kind=AdmissionReview, got {got}")


_TYPES: dict[str, tuple[type, str]] = {
    "uid": (str, "types.UID"),
    "allowed": (bool, "bool"),
    "patch": (str, "[]uint8"),
    "patchType": (str, "v1.PatchType"),
    "warnings": (list, "[]string"),
    "auditAnnotations": (dict, "map[string]string"),
    "status": (dict, "v1.Status"),
}


def _check_types(response: Object) -> None:
    for name, (kind, go) in _TYPES.items():
        value = response.get(name)
        if value is not None and not isinstance(value, kind):
            raise _untyped(value, f"AdmissionResponse.response.{name}", go)
    for word in response.get("warnings") or ():
        if not isinstance(word, str):
            raise _untyped(word, "AdmissionResponse.response.warnings", "string")
    for word in (response.get("auditAnnotations") or {}).values():
        if not isinstance(word, str):
            raise _untyped(word, "AdmissionResponse.response.auditAnnotations", "string")
    status = response.get("status") or {}
    for name, kind, go in (
        ("message", str, "string"),
        ("reason", str, "v1.StatusReason"),
        ("code", int, "int32"),
    ):
        value = status.get(name)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise _untyped(value, f"Status.response.status.{name}", go)


def _untyped(value: Any, field: str, go: str) -> CallFailedError:
    return CallFailedError(
        f"failed to call webhook: json: cannot unmarshal {json_kind(value)} into Go struct field {field} of type {go}"
    )


def _patch(response: Object) -> bytes:
    try:
        return base64.b64decode(response.get("patch") or "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise CallFailedError(f"failed to call webhook: illegal base64 data: {error}") from None


def _check_patch(response: Object, patch: bytes, version: str) -> None:
    kind = response.get("patchType")
    if version != V1:
        return  # the older review did not tell, and only one kind was ever known
    if patch and kind is None:
        raise _invalid("webhook returned response.patch but not response.patchType")
    if not patch and kind is not None:
        raise _invalid("webhook returned response.patchType but not response.patch")
    if kind is not None and not kind:
        raise _invalid('webhook returned invalid response.patchType of ""')
    if kind is not None and kind != JSON_PATCH:
        raise CallFailedError(f"unsupported patch type {quote(kind)}")


def _invalid(why: str) -> CallFailedError:
    return CallFailedError(f"received invalid webhook response: {why}")


def refusal(hook: str, status: Object | None) -> errors.ApiError:
    """The error that a webhook's refusal becomes: its own code, reason and details (``ToStatusErr``)."""
    status = status or {}
    denied = f"admission webhook {quote(hook)} denied the request"
    if status.get("message"):
        message = f"{denied}: {status['message']}"
    elif status.get("reason"):
        message = f"{denied}: {status['reason']}"
    else:
        message = f"{denied} without explanation"
    code = status.get("code") or 0
    return errors.ApiError(
        message,
        details=status.get("details"),
        code=code if code >= 400 else 400,
        reason=str(status.get("reason") or ""),
    )
