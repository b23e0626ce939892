"""The audit events of one request (audit.k8s.io/v1 Event).

    RequestReceived -> ResponseStarted (streams and watches) -> ResponseComplete | Panic
    ResponseStarted                                             of nobody we know

An event is made when its stage is reached; each stage is written once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from coxswain.api import codec, errors
from coxswain.api.names import Object
from coxswain.apiserver.audit.policy import Level, Verdict
from coxswain.apiserver.authn.users import user_info
from coxswain.apiserver.authz.attributes import Attributes, Decision
from coxswain.apiserver.request import Reply
from coxswain.base import clock
from coxswain.client.interface import UserInfo

_PREFIX = "authorization.k8s.io/"
_WRITES = ("create", "update")
_STATUS_FIELDS = ("metadata", "status", "message", "reason", "details", "code")


class Record:
    """See the module's text. ``annotations`` may be added to until the last stage."""

    def __init__(
        self,
        verdict: Verdict,
        audit_id: str,
        request: Attributes,
        facts: Mapping[str, Any],
        body: tuple[bytes, str],
        write: Callable[[Object], object],
    ) -> None:
        """``facts``: requestURI, sourceIPs, userAgent. ``body`` comes with its content type. ``write`` takes events."""
        self.annotations: dict[str, str] = {}
        self.audit_id = audit_id
        self.level: Level = verdict.level
        self._verdict = verdict
        self._request = request
        self._body = body
        self._write = write
        self._received = clock.micro_timestamp()
        self._event: Object = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": verdict.level,
            "auditID": audit_id,
            "stage": "",
            "requestURI": facts["requestURI"],
            "verb": request.verb,
            "user": user_info(request.user) if request.user.name else {},
            "sourceIPs": facts["sourceIPs"],
        }
        if facts.get("userAgent"):
            self._event["userAgent"] = facts["userAgent"]
        if request.is_resource:
            self._event["objectRef"] = _reference(request)
        self._started = self._complete = False
        self._code = 0

    # -- what becomes known

    def impersonated(self, user: UserInfo) -> None:
        """The request is made in the name of ``user``."""
        self._event["impersonatedUser"] = user_info(user)

    def decided(self, decision: Decision) -> None:
        """What authorization said."""
        self.annotations.setdefault(_PREFIX + "decision", "allow" if decision.allowed else "forbid")
        self.annotations.setdefault(_PREFIX + "reason", decision.reason)

    # -- stages

    def received(self) -> None:
        """The request is here."""
        self._emit("RequestReceived", self._received)

    def started(self, code: int) -> None:
        """The answer has begun, and more of it will come."""
        if not self._started:
            self._started = True
            self._code = code
            self._event["responseStatus"] = {"metadata": {}, "code": code}
            self._emit("ResponseStarted", clock.micro_timestamp())

    def unauthenticated(self, message: str) -> None:
        """Authentication failed: that is all there will be."""
        self._body = (b"", "")
        self._complete = True
        self._event["responseStatus"] = {"metadata": {}, "message": message, "code": 401}
        self._emit("ResponseStarted", clock.micro_timestamp())

    def completed(self, code: int, reply: Reply | None = None) -> None:
        """The answer is whole; ``reply`` where it was given at once. Idempotent."""
        if self._complete:
            return
        self._complete = True
        failure = reply is not None and code >= 400
        self._event["responseStatus"] = _status(reply, code) if failure else {"metadata": {}, "code": code}
        if reply is not None and self.level == "RequestResponse":
            self._attach("responseObject", reply.body, reply.content_type)
        self._emit("ResponseComplete", clock.micro_timestamp())

    def ended(self) -> None:
        """A stream or watch is over, however it came to that. Idempotent."""
        self.completed(self._code or 101)

    def panicked(self, error: errors.ApiError) -> None:
        """A bug of ours answered."""
        if not self._complete:
            self._complete = True
            status = {name: value for name, value in error.status().items() if name in _STATUS_FIELDS}
            self._event["responseStatus"] = status
            self._emit("Panic", clock.micro_timestamp())

    def _emit(self, stage: str, stamp: str) -> None:
        if stage in self._verdict.omitted_stages:
            return
        if stage != "RequestReceived":
            self._take_up_body()
        event = {
            **self._event,
            "stage": stage,
            "requestReceivedTimestamp": self._received,
            "stageTimestamp": stamp,
        }
        if self.annotations:
            event["annotations"] = dict(self.annotations)
        self._write(event)

    def _take_up_body(self) -> None:
        """What was sent: at the levels that have it, and for the name and revision of what is written."""
        written = self._request.verb in _WRITES and "objectRef" in self._event
        if self.level in ("Request", "RequestResponse"):
            self._attach("requestObject", *self._body)
        elif not written:
            return
        if written and self._body[0]:
            sent = self._event.get("requestObject") or _object(*self._body)
            metadata = sent.get("metadata") if isinstance(sent, dict) else None
            if isinstance(metadata, dict):
                for field in ("namespace", "name", "uid", "resourceVersion"):
                    if metadata.get(field):
                        self._event["objectRef"].setdefault(field, metadata[field])
        self._body = (b"", "")

    def _attach(self, name: str, body: bytes, content_type: str) -> None:
        if body and name not in self._event and self._request.is_resource:
            found = _object(body, content_type)
            if found is not None:
                self._event[name] = _trimmed(found) if self._verdict.omit_managed_fields else found


def _reference(request: Attributes) -> Object:
    found = {
        "resource": request.resource,
        "namespace": request.namespace,
        "name": request.name,
        "apiGroup": request.group,
        "apiVersion": request.version,
        "subresource": request.subresource,
    }
    return {key: value for key, value in found.items() if value}


def _status(reply: Reply | None, code: int) -> Object:
    """The Status of a failure, without what every Status has."""
    try:
        status = orjson.loads(reply.body) if reply is not None else {}
    except orjson.JSONDecodeError:
        status = {}
    if not isinstance(status, dict) or status.get("kind") != "Status":
        return {"metadata": {}, "code": code}
    return {name: status[name] for name in _STATUS_FIELDS if name in status}


def _object(body: bytes, content_type: str) -> Any:
    """What a body says, as JSON; None where it says nothing that can be read."""
    media_type = content_type.partition(";")[0].strip()
    if media_type.endswith("json") or not media_type:
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
    try:
        return codec.decode(
            body, codec.YAML if media_type.endswith("yaml") else media_type, None, "Ignore"
        ).obj
    except errors.ApiError:
        return None


def _trimmed(obj: Any) -> Any:
    """Without managed fields; of a list, none of its items has them."""
    if not isinstance(obj, dict):
        return obj
    meta = obj.get("metadata")
    if isinstance(meta, dict) and "managedFields" in meta:
        obj = {**obj, "metadata": {key: value for key, value in meta.items() if key != "managedFields"}}
    items = obj.get("items")
    if isinstance(items, list) and str(obj.get("kind", "")).endswith("List"):
        obj = {**obj, "items": [_trimmed(item) for item in items]}
    return obj
