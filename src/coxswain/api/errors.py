"""What an API server answers when it does not do what was asked: Kubernetes' Status, as exceptions.

ApiError                    any failure; has .code, .reason, .message, .details, .retry_after; .status() is the wire form
  BadRequest 400            Unauthorized 401        Forbidden 403          NotFound 404
  MethodNotAllowed 405      NotAcceptable 406       AlreadyExists 409      Conflict 409
  Expired 410               RequestTooLarge 413     UnsupportedMediaType 415
  Invalid 422               TooManyRequests 429     InternalError 500      ServiceUnavailable 503   Timeout 504

The server raises them, the clients raise them again from the wire (``from_status``): a controller catches
``Conflict`` and never looks at numbers. Messages follow apimachinery ``api/errors``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from coxswain.api.fields import FieldError, aggregate
from coxswain.api.names import GVR, Object
from coxswain.base.errors import CoxswainError


class ApiError(CoxswainError):
    """A request that failed. Subclasses fix ``code`` and ``reason``."""

    code: int = 500
    reason: str = ""

    def __init__(
        self,
        message: str,
        *,
        details: Object | None = None,
        retry_after: int | None = None,
        code: int | None = None,
        reason: str | None = None,
    ) -> None:
        """``details`` is StatusDetails; ``retry_after`` is seconds."""
        super().__init__(message)
        self.message = message
        self.details = details
        self.retry_after = retry_after
        if code is not None:
            self.code = code
        if reason is not None:
            self.reason = reason

    def status(self) -> Object:
        """The metav1.Status object of this error."""
        status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        details = dict(self.details or {})
        if self.retry_after is not None:
            details["retryAfterSeconds"] = self.retry_after
        if details or self.details is not None:
            status["details"] = details
        status["code"] = self.code
        return status


class BadRequest(ApiError):
    """400: the request itself is malformed."""

    code, reason = 400, "BadRequest"


class Unauthorized(ApiError):
    """401: nobody we know."""

    code, reason = 401, "Unauthorized"

    def __init__(self, message: str = "Unauthorized", **options: Any) -> None:
        super().__init__(message, **options)


class Forbidden(ApiError):
    """403: known, but not allowed (by authorization or by admission)."""

    code, reason = 403, "Forbidden"


class NotFound(ApiError):
    """404: no such object, or no such resource."""

    code, reason = 404, "NotFound"


class MethodNotAllowed(ApiError):
    """405: the resource does not do this verb."""

    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(ApiError):
    """406: no representation that the client accepts."""

    code, reason = 406, "NotAcceptable"


class AlreadyExists(ApiError):
    """409: an object of this name exists."""

    code, reason = 409, "AlreadyExists"


class Conflict(ApiError):
    """409: the object changed meanwhile, or a precondition does not hold."""

    code, reason = 409, "Conflict"


class Expired(ApiError):
    """410: the requested revision was compacted; list again."""

    code, reason = 410, "Expired"


class RequestTooLarge(ApiError):
    """413: the body is over the limit."""

    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    """415: the body's content type is not understood here."""

    code, reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    """422: the object breaks the rules of its kind; the details list every field."""

    code, reason = 422, "Invalid"


class TooManyRequests(ApiError):
    """429: come again after ``retry_after`` seconds."""

    code, reason = 429, "TooManyRequests"


class InternalError(ApiError):
    """500: our fault."""

    code, reason = 500, "InternalError"


class ServiceUnavailable(ApiError):
    """503: not ready, or going away."""

    code, reason = 503, "ServiceUnavailable"


class Timeout(ApiError):
    """504: not done in time."""

    code, reason = 504, "Timeout"


_CLASSES: tuple[type[ApiError], ...] = (
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    AlreadyExists,
    Conflict,
    Expired,
    RequestTooLarge,
    UnsupportedMediaType,
    Invalid,
    TooManyRequests,
    InternalError,
    ServiceUnavailable,
    Timeout,
)
_BY_REASON: dict[str, type[ApiError]] = {cls.reason: cls for cls in _CLASSES}
_BY_CODE: dict[int, type[ApiError]] = {cls.code: cls for cls in reversed(_CLASSES)}


def from_status(status: Object) -> ApiError:
    """The exception of a Status that came over a wire; unknown reasons fall back to the code's class."""
    code = int(status.get("code") or 500)
    reason = str(status.get("reason") or "")
    cls = _BY_REASON.get(reason) or _BY_CODE.get(code) or ApiError
    details: Object = dict(status.get("details") or {})
    retry = details.pop("retryAfterSeconds", None)
    return cls(
        str(status.get("message") or reason or f"HTTP {code}"),
        details=details or None,
        retry_after=retry,
        code=code,
        reason=reason,
    )


def _details(resource: GVR, name: str) -> Object:
    details: Object = {}
    if name:
        details["name"] = name
    if resource.group:
        details["group"] = resource.group
    if resource.resource:
        details["kind"] = resource.resource
    return details


def not_found(resource: GVR, name: str) -> NotFound:
    """``pods "a" not found``."""
    message = f'{resource.group_resource} "{name}" not found'
    return NotFound(message, details=_details(resource, name))


def already_exists(resource: GVR, name: str) -> AlreadyExists:
    """``pods "a" already exists``."""
    message = f'{resource.group_resource} "{name}" already exists'
    return AlreadyExists(message, details=_details(resource, name))


def conflict(resource: GVR, name: str, why: str) -> Conflict:
    """``Operation cannot be fulfilled on pods "a": why``."""
    message = f'Operation cannot be fulfilled on {resource.group_resource} "{name}": {why}'
    return Conflict(message, details=_details(resource, name))


#: Why an update with an old resourceVersion is refused.
MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def forbidden(resource: GVR, name: str, why: str) -> Forbidden:
    """``pods "a" is forbidden: why`` (the name's part is left out where there is none)."""
    if name:
        message = f'{resource.group_resource} "{name}" is forbidden: {why}'
    elif resource.resource:
        message = f"{resource.group_resource} is forbidden: {why}"
    else:
        message = f"forbidden: {why}"
    return Forbidden(message, details=_details(resource, name))


def method_not_supported(resource: GVR, verb: str) -> MethodNotAllowed:
    """``verb is not supported on resources of kind "pods"``."""
    message = f'{verb} is not supported on resources of kind "{resource.group_resource}"'
    return MethodNotAllowed(message, details=_details(resource, ""))


class CauseType:
    """Reasons of Status causes that do not come from a field error."""

    FIELD_MANAGER_CONFLICT: ClassVar[str] = "FieldManagerConflict"


def invalid(group: str, kind: str, name: str, errors: Sequence[FieldError]) -> Invalid:
    """``Pod "a" is invalid: spec.x: Required value``, with a cause for every field.

    ``kind`` is the kind's name (``Pod``), ``group`` its API group.
    """
    qualified = f"{kind}.{group}" if group else kind
    # Kubernetes drops repeated messages from the text (ToAggregate) but keeps every cause.
    text = aggregate(str(error) for error in errors)
    message = f'{qualified} "{name}" is invalid: {text}' if errors else f'{qualified} "{name}" is invalid'
    details: Object = {"name": name} if name else {}
    if group:
        details["group"] = group
    details["kind"] = kind
    if errors:
        details["causes"] = [
            {"reason": error.type.reason, "message": error.body, "field": error.field} for error in errors
        ]
    return Invalid(message, details=details)
