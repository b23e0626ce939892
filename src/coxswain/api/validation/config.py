"""ConfigMaps and Secrets: keys, sizes, what a secret's type asks for, and immutability."""

from __future__ import annotations

import base64
import binascii
import json

from coxswain.api.fields import Errors, forbidden, invalid, json_kind, required, too_long
from coxswain.api.names import Object
from coxswain.api.validation.formats import IMMUTABLE, config_key, report
from coxswain.api.validation.rules import Rules

#: Bytes of data in one object.
MAX_SIZE = 1024 * 1024
_WHEN_IMMUTABLE = "field is immutable when `immutable` is set"
_ACCOUNT = "kubernetes.io/service-account.name"


def _validate_keys(data: Object, path: str, errors: Errors) -> None:
    for key in data:
        if config_key(key):
            report(config_key(key), f"{path}[{key}]", key, errors)


def _decoded_size(text: str) -> int:
    return len(text) * 3 // 4 - text[-2:].count("=") if text else 0


def _validate_config_map(config: Object, errors: Errors) -> None:
    data, binary = config.get("data") or {}, config.get("binaryData") or {}
    _validate_keys(data, "data", errors)
    for key in data:
        if key in binary:
            errors.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
    _validate_keys(binary, "binaryData", errors)
    size = sum(len((text or "").encode()) for text in data.values())
    size += sum(_decoded_size(text or "") for text in binary.values())
    if size > MAX_SIZE:
        errors.append(too_long("", "", MAX_SIZE))


def _validate_immutable(new: Object, old: Object, fields: tuple[str, ...], errors: Errors) -> None:
    if not old.get("immutable"):
        return
    if not new.get("immutable"):
        errors.append(forbidden("immutable", _WHEN_IMMUTABLE))
    for field in fields:
        if (new.get(field) or {}) != (old.get(field) or {}):
            errors.append(forbidden(field, _WHEN_IMMUTABLE))


def _validate_config_map_update(new: Object, old: Object, errors: Errors) -> None:
    _validate_immutable(new, old, ("data", "binaryData"), errors)


def _validate_secret(secret: Object, errors: Errors) -> None:
    data = secret.get("data") or {}
    _validate_keys(data, "data", errors)
    if sum(_decoded_size(text or "") for text in data.values()) > MAX_SIZE:
        errors.append(too_long("data", "", MAX_SIZE))
    kind = secret.get("type") or ""
    if kind == "kubernetes.io/service-account-token":
        annotations = (secret.get("metadata") or {}).get("annotations") or {}
        if not annotations.get(_ACCOUNT):
            errors.append(required(f"metadata.annotations[{_ACCOUNT}]"))
    elif kind == "kubernetes.io/dockercfg":
        _validate_json(data, ".dockercfg", errors)
    elif kind == "kubernetes.io/dockerconfigjson":
        _validate_json(data, ".dockerconfigjson", errors)
    elif kind == "kubernetes.io/basic-auth":
        if "username" not in data and "password" not in data:
            errors.append(required("data[username]"))
            errors.append(required("data[password]"))
    elif kind == "kubernetes.io/ssh-auth":
        if not data.get("ssh-privatekey"):
            errors.append(required("data[ssh-privatekey]"))
    elif kind == "kubernetes.io/tls":
        for key in ("tls.crt", "tls.key"):
            if key not in data:
                errors.append(required(f"data[{key}]"))


def _validate_json(data: Object, key: str, errors: Errors) -> None:
    if key not in data:
        errors.append(required(f"data[{key}]"))
        return
    try:
        content = base64.b64decode(data[key] or "")
    except (binascii.Error, ValueError):
        content = b""
    problem = _json_problem(content)
    if problem:
        errors.append(invalid(f"data[{key}]", "<secret contents redacted>", problem))


def _json_problem(content: bytes) -> str:
    """What Go's decoder says of bytes that are no JSON object; empty when they are one."""
    text = content.decode(errors="replace")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()):
            return "unexpected end of JSON input"
        shown = text[error.pos]
        where = (
            "looking for beginning of value" if error.pos == 0 or "value" in error.msg else "after object key"
        )
        if "property name" in error.msg:
            where = "looking for beginning of object key string"
        return f"invalid character '{shown}' {where}"
    if isinstance(value, dict) or value is None:
        return ""
    return f"json: cannot unmarshal {json_kind(value)} into Go value of type map[string]interface {{}}"


def _validate_secret_update(new: Object, old: Object, errors: Errors) -> None:
    if new.get("type") != old.get("type"):
        errors.append(invalid("type", new.get("type") or "", IMMUTABLE))
    _validate_immutable(new, old, ("data",), errors)


RULES = {
    ("", "ConfigMap"): Rules(
        validate=_validate_config_map,
        update=_validate_config_map_update,
        metadata_on_update=True,
        update_first=True,
    ),
    ("", "Secret"): Rules(
        validate=_validate_secret,
        update=_validate_secret_update,
        metadata_on_update=True,
        update_first=True,
    ),
}
