"""metav1.Condition, which the newer kinds have in their status."""

from __future__ import annotations

import re
from typing import Final

from coxswain.api.fields import Errors, duplicate, invalid, not_supported, required, too_long
from coxswain.api.names import Object
from coxswain.api.validation.formats import qualified_name, report

_STATUSES: Final = ("False", "True", "Unknown")
_REASON: Final = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?"
_REASON_MATCHES: Final = re.compile(_REASON).fullmatch
_REASON_WRONG: Final = (
    "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric "
    "characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  "
    f"or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '{_REASON}')"
)
_MAX_REASON: Final = 1024
_MAX_MESSAGE: Final = 32 * 1024


def validate_conditions(conditions: list[Object] | None, path: str, errors: Errors) -> None:
    """A list of conditions: each of its own type, and well formed."""
    seen: set[str] = set()
    for position, condition in enumerate(conditions or ()):
        here = f"{path}[{position}]"
        kind = condition.get("type") or ""
        if kind in seen:
            errors.append(duplicate(here, kind))
        seen.add(kind)
        _validate(condition, kind, here, errors)


def _validate(condition: Object, kind: str, path: str, errors: Errors) -> None:
    if not kind:
        errors.append(required(f"{path}.type", "is required"))
    else:
        report(qualified_name(kind), f"{path}.type", kind, errors)
    status = condition.get("status") or ""
    if not status:
        errors.append(required(f"{path}.status"))
    elif status not in _STATUSES:
        errors.append(not_supported(f"{path}.status", status, _STATUSES))
    generation = condition.get("observedGeneration") or 0
    if generation < 0:
        why = "must be greater than or equal to zero"
        errors.append(invalid(f"{path}.observedGeneration", generation, why))
    if not condition.get("lastTransitionTime"):
        errors.append(required(f"{path}.lastTransitionTime"))
    reason = condition.get("reason") or ""
    if not reason:
        errors.append(required(f"{path}.reason"))
    else:
        if not _REASON_MATCHES(reason):
            errors.append(invalid(f"{path}.reason", reason, _REASON_WRONG))
        if len(reason.encode()) > _MAX_REASON:
            errors.append(too_long(f"{path}.reason", "", _MAX_REASON))
    if len((condition.get("message") or "").encode()) > _MAX_MESSAGE:
        errors.append(too_long(f"{path}.message", "", _MAX_MESSAGE))
