"""How an error is shown: kubectl's sentences, one an error, on standard error.

UsageError      what was asked makes no sense      error: ...
ServerRefused   nobody listens at the server       The connection to the server ... was refused - ...
ApiError        what the server answered           Error from server (Reason): ...
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from coxswain.api.errors import ApiError, from_status
from coxswain.base.errors import CoxswainError


class UsageError(CoxswainError):
    """The command line cannot be done as given; the message is shown after ``error: ``."""


class ServerRefused(CoxswainError):
    """There is no server. The message is shown as it is, and says what to do."""


def sentence(error: Exception) -> str:
    """One error as kubectl words it, without the newline."""
    if isinstance(error, ServerRefused):
        return str(error)
    if not isinstance(error, ApiError):
        return f"error: {error}"
    if error.reason == "Invalid":
        return _invalid(error)
    if error.reason == "Unauthorized":
        return f"error: You must be logged in to the server ({error.message})"
    if error.reason:
        return f"Error from server ({error.reason}): {error.message}"
    return f"Error from server: {error.message}"


def show(errors: Iterable[Exception]) -> None:
    """Every error on a line of its own."""
    for error in errors:
        sys.stderr.write(sentence(error) + "\n")


def with_source(error: Exception, doing: str, source: str) -> Exception:
    """The error with ``error when creating "a.yaml": `` before the server's message."""
    if not isinstance(error, ApiError):
        return error
    status = error.status()
    status["message"] = f'error when {doing} "{source}": {error.message}'
    return from_status(status)


def _invalid(error: ApiError) -> str:
    details = error.details
    if details is None:
        return f"The request is invalid: {error.message}"
    kind, name, causes = details.get("kind", ""), details.get("name", ""), details.get("causes") or []
    head = "The request is invalid"
    if kind or name:
        head = f'The {kind} "{name}" is invalid'
    elif error.message and not causes:
        head += f": {error.message}"
    lines = list(dict.fromkeys(f"{cause.get('field', '')}: {cause.get('message', '')}" for cause in causes))
    if not lines:
        return head
    return f"{head}: {lines[0]}" if len(lines) == 1 else "\n* ".join([f"{head}: ", *lines])
