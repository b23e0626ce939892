"""What the HTTP door says to requests that it does not take up."""

from __future__ import annotations

from coxswain.api import errors
from coxswain.apiserver.request import wrong_method
from coxswain.apiserver.settings import ServingSettings
from coxswain.apiserver.wire import Request


def refusal(request: Request, serving: ServingSettings) -> errors.ApiError:
    """What to say about a request that could not be taken whole."""
    if request.failure == "body":
        return errors.RequestTooLarge(f"Request entity too large: limit is {serving.max_body_bytes}")
    if request.failure == "head":
        message = f"Request header fields too large: limit is {serving.max_header_bytes}"
        return errors.ApiError(message, code=431)
    if request.failure == "busy":
        return errors.TooManyRequests(
            "too much is being sent at one time, please try again later", retry_after=1
        )
    if request.failure == "slow":
        return errors.ApiError("the request did not arrive in time", code=408)
    if request.failure == "method":
        return wrong_method()
    return errors.BadRequest("the request could not be understood")


def refuse_encoding(request: Request) -> None:
    """Packed bodies are not taken: nothing can be a bomb that is not unpacked. Raises ``UnsupportedMediaType``."""
    encoding = request.header(b"content-encoding").strip().lower()
    if request.body and encoding not in ("", "identity"):
        raise errors.UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted content encodings include: identity"
        )


def took_too_long() -> errors.Timeout:
    """What a client is told whose time is over."""
    return errors.Timeout("request did not complete within the allotted timeout", retry_after=1)
