"""How the API server words the patches that it cannot apply."""

from __future__ import annotations

from typing import Any

from coxswain.api.errors import BadRequest, Invalid
from coxswain.api.fields import json_kind


def wrong_json_type(value: Any, go_type: str) -> BadRequest:
    """``error decoding patch: json: cannot unmarshal object into Go value of type ...``."""
    return BadRequest(
        f"error decoding patch: json: cannot unmarshal {json_kind(value)} into Go value of type {go_type}"
    )


def too_deep() -> BadRequest:
    """Nested deeper than we walk."""
    return BadRequest("error decoding patch: json: exceeded max depth")


def rejected() -> Invalid:
    """The patch is well formed but does not fit the object; Kubernetes keeps the reason to itself."""
    return Invalid("the server rejected our request due to an error in our request", details={})


def go_text(value: Any) -> str:
    """A JSON value as Go's ``%v`` prints it: ``map[image:c ports:[map[port:80]]]``."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{name}:{go_text(value[name])}" for name in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_text, value)) + "]"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
