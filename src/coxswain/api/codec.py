"""Request bodies into objects and objects into bytes: JSON, YAML and Kubernetes' protobuf.

    decode(body, content_type, default_gvk, "Strict") -> Decoded(obj, warnings, gvk)
    decode_apply(body, "Strict")  what server-side apply was sent, as it was sent
    conform(obj, gvk, "Warn")   the same checks for an object that is already a dict (a patch's result)
    complete(obj, gvk)          adds what Kubernetes always writes (``status: {}``); after defaulting, before storing
    encode(obj) -> bytes        JSON, kind, apiVersion and metadata first; what is stored and served
    splice_resource_version(raw, 42) -> raw with metadata.resourceVersion "42"
    encode_protobuf(obj)        in the ``k8s\\0`` envelope; ``frame_protobuf_event`` for watches
    encode_yaml(obj)

Errors are ApiErrors with the messages of kube-apiserver, which are those of Go's decoders: a type mismatch or
bad quantity first, then unknown and duplicate fields (``Strict`` refuses them, ``Warn`` gives warnings, ``Ignore``
drops them silently). An object that comes out has only known fields of the right types, no nulls, canonical
quantities and times, ``kind`` and ``apiVersion`` set, and ``metadata`` present where its type has one.

A kind that the schema tables do not know (a custom resource) is parsed and checked for duplicates only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import orjson

from coxswain._native import walk
from coxswain.api import errors, fieldcheck, jsonscan, schema
from coxswain.api.fields import quote
from coxswain.api.names import GVK, Object, split_api_version

if TYPE_CHECKING:
    from coxswain.api.schema import Type

#: What an object declares that declares nothing.
NO_KIND: Final = GVK("", "", "")

FieldValidation: TypeAlias = Literal["Strict", "Warn", "Ignore"]

JSON: Final = "application/json"
YAML: Final = "application/yaml"
PROTOBUF: Final = "application/vnd.kubernetes.protobuf"

_ACCEPTED: Final = f"{JSON}, {YAML}, {PROTOBUF}"
_SCHEME: Final = "pkg/api/legacyscheme/scheme.go:30"
_MAX_STRICT: Final = 100
#: How Go prints the struct that it reads kind and apiVersion into.
_META_STRUCT: Final = (
    'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
)
#: Kinds that several versions name and that decode alike.
_SAME_AS: Final = {GVK("policy", "v1beta1", "Eviction"): GVK("policy", "v1", "Eviction")}


@dataclass(slots=True)
class Decoded:
    """An object out of a body, and what the client should be warned of."""

    obj: Object
    warnings: list[str] = field(default_factory=list)
    gvk: GVK = NO_KIND


def decode(
    body: bytes,
    content_type: str,
    default_gvk: GVK | None,
    field_validation: FieldValidation | str = "Warn",
    *,
    protobuf: bool = True,
) -> Decoded:
    """The object in ``body``; ``default_gvk`` is what the endpoint takes (None: anything).

    ``protobuf=False`` is for endpoints of custom resources, which take JSON and YAML only. Raises BadRequest and
    UnsupportedMediaType.
    """
    media_type = content_type.partition(";")[0].strip().lower() or JSON
    strict: list[str] = []
    try:
        if media_type == JSON:
            raw = jsonscan.loads(body)
        elif media_type == YAML:
            raw, strict = _read_yaml(body)
        elif media_type == PROTOBUF and protobuf:
            return _decode_protobuf(body, default_gvk, field_validation)
        else:
            raise _unsupported(protobuf)
        gvk = _interpret(raw, default_gvk)
    except ValueError as error:
        raise _unrecognized(body, default_gvk, error) from None
    obj: Object = raw if raw is not None else {}
    _check_depth(obj, body)
    duplicates = body if media_type == JSON and field_validation != "Ignore" else None
    return _finish(obj, gvk, default_gvk, field_validation, strict, duplicates, body)


def conform(obj: Object, default_gvk: GVK, field_validation: FieldValidation | str = "Warn") -> Decoded:
    """Check and clean an object that is a dict already, as if it had been decoded; ``obj`` is changed and used."""
    try:
        gvk = _interpret(obj, default_gvk)
    except ValueError as error:
        raise _unrecognized(b"{}", default_gvk, error) from None
    return _finish(obj, gvk, default_gvk, field_validation, [], None, b"")


def decode_apply(body: bytes, field_validation: FieldValidation | str = "Warn") -> Decoded:
    """An apply patch (YAML or JSON) as it was sent: nothing dropped or rewritten, since every field counts.

    Only keys given twice are looked for; types and unknown fields are for apply to tell. Raises BadRequest.
    """
    if body[:1] == b"{" and (sent := _plain_json(body)) is not None:
        return Decoded(sent, [], GVK.of(sent))
    from coxswain.api import yamlio

    try:
        obj, twice = yamlio.loads(body)
    except yamlio.YamlError as error:
        raise errors.BadRequest(f"error decoding patch: {_CONVERTING}{error}") from None
    obj = {} if obj is None else obj
    if type(obj) is not dict:
        name = walk.value_name(obj, False)
        raise errors.BadRequest(
            "error decoding patch: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal"
            f" {name} into Go value of type map[string]interface {{}}"
        )
    if twice and field_validation == "Strict":
        raise errors.BadRequest(f"error strict decoding patch: {_CONVERTING}{twice[0]}")
    warnings = [_CONVERTING + message for message in twice] if field_validation == "Warn" else []
    return Decoded(obj, warnings, GVK.of(obj))


_CONVERTING: Final = "error converting YAML to JSON: "


def _plain_json(body: bytes) -> Object | None:
    """A body that is JSON without repeated keys, which is read many times faster than YAML; else None."""
    try:
        obj: Object = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    _check_depth(obj, body)
    state = walk.Walk(False)
    state.count(obj)
    return obj if state.keys == walk.count_keys(body) else None


def check_types(obj: Object, gvk: GVK) -> None:
    """Type errors of ``obj`` as Kubernetes words them; ``obj`` is cleaned in place. Raises BadRequest."""
    conform(obj, gvk, "Ignore")


def complete(obj: Object, gvk: GVK) -> None:
    """Add in place what encoding always writes for this kind. Nothing for custom resources."""
    kind = schema.type_of(gvk)
    if kind is not None:
        fieldcheck.complete(obj, kind)


def encode(obj: Object) -> bytes:
    """JSON bytes with kind, apiVersion and metadata first."""
    order = iter(obj)
    if not (next(order, "") == "kind" and next(order, "") == "apiVersion" and next(order, "") == "metadata"):
        head: Object = {key: obj[key] for key in ("kind", "apiVersion", "metadata") if key in obj}
        obj = {**head, **obj}
    try:
        return orjson.dumps(obj)
    except TypeError as error:
        if "ecursion" in str(error):
            raise _too_deep() from None
        raise


#: Objects nested deeper than this are refused: nothing that means anything is, and the walks are recursive.
MAX_DEPTH: Final = 200


def _too_deep() -> errors.BadRequest:
    return errors.BadRequest(f"the object is nested too deeply: at most {MAX_DEPTH} levels are accepted")


def _check_depth(obj: Object, body: bytes) -> None:
    """Refuse what is nested too deeply. Raises ``BadRequest``."""
    if body[:1] == b"{" and body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        return  # it has too few brackets to be deep: so it is with nearly every body
    level: list[Any] = [obj]
    for _ in range(MAX_DEPTH):
        level = [
            below
            for value in level
            for below in (value.values() if type(value) is dict else value)
            if type(below) is dict or type(below) is list
        ]
        if not level:
            return
    raise _too_deep()


_METADATA: Final = b'"metadata":{'


def splice_resource_version(raw: bytes, revision: int) -> bytes:
    """Put ``metadata.resourceVersion`` into bytes that ``encode`` made of an object without one."""
    # kind and apiVersion come first and cannot hold these bytes, so the first match is the object's own.
    start = raw.find(_METADATA)
    if start < 0:
        return raw
    start += len(_METADATA)
    if raw.startswith(b"}", start):
        return b'%b"resourceVersion":"%d"%b' % (raw[:start], revision, raw[start:])
    return b'%b"resourceVersion":"%d",%b' % (raw[:start], revision, raw[start:])


def encode_yaml(obj: Any) -> bytes:
    """YAML bytes with sorted keys."""
    from coxswain.api import yamlio

    return yamlio.dumps(obj).encode()


def encode_protobuf(obj: Object) -> bytes:
    """``obj`` (an object, a list, a Status) as Kubernetes' protobuf. Raises NotAcceptable for other kinds."""
    from coxswain.api import protobuf

    return protobuf.encode(obj)


def frame_protobuf_event(event_type: str, obj: Object) -> bytes:
    """One watch event for a protobuf stream: four bytes of length, then the WatchEvent."""
    from coxswain.api import protobuf

    return protobuf.frame_event(event_type, obj)


def _read_yaml(body: bytes) -> tuple[Any, list[str]]:
    from coxswain.api import yamlio

    return yamlio.loads(body)


def _interpret(raw: Any, default: GVK | None) -> GVK:
    """The kind that a body declares, the endpoint's filling in what is missing. Raises ``ValueError``."""
    if raw is None:
        raw = {}
    if type(raw) is not dict:
        name = walk.value_name(raw, False)
        raise ValueError(_NO_KIND + f"json: cannot unmarshal {name} into Go value of type {_META_STRUCT}")
    kind, api_version = raw.get("kind"), raw.get("apiVersion")
    for key, value in (("apiVersion", api_version), ("kind", kind)):
        if value is not None and type(value) is not str:
            name = walk.value_name(value, False)
            raise ValueError(
                _NO_KIND + f"json: cannot unmarshal {name} into Go struct field .{key} of type string"
            )
    if (api_version or "").count("/") > 1:
        raise ValueError(f"unexpected GroupVersion string: {api_version}")
    group, version = split_api_version(api_version or "")
    if default is not None:
        kind = kind or default.kind
        if not version and not group:
            group = default.group
        if not version and group == default.group:
            version = default.version
    return GVK(group, version, kind or "")


_NO_KIND: Final = "couldn't get version/kind; json parse error: "


def _finish(
    obj: Object,
    gvk: GVK,
    default: GVK | None,
    validation: str,
    strict: list[str],
    duplicates: bytes | None,
    body: bytes,
) -> Decoded:
    if not gvk.kind or not gvk.version:
        part = "apiVersion" if gvk.kind else "Kind"
        error = ValueError(f"Object '{part}' is missing in '{body.decode(errors='replace')}'")
        raise _unrecognized(body, default, error)
    gvk = _SAME_AS.get(gvk, gvk)
    kind = schema.type_of(gvk)
    report = validation != "Ignore"
    if kind is None:
        if default is not None and schema.type_of(default) is not None:
            raise _unhandled(gvk, default, f"no kind {_not_registered(gvk)} in scheme {quote(_SCHEME)}")
        if duplicates is not None:
            strict = _duplicates_only(obj, duplicates)
    else:
        strict += _check(obj, kind, gvk, default, report, duplicates)
        if default is not None and gvk != default and not _everywhere(gvk, default):
            raise _mismatch(gvk, default)
    if strict and validation == "Strict":
        raise _unhandled(gvk, default or gvk, "strict decoding error: " + ", ".join(strict))
    return Decoded(_arranged(obj, gvk, kind), strict if validation == "Warn" else [], gvk)


def _check(
    obj: Object, kind: Type, gvk: GVK, default: GVK | None, report: bool, duplicates: bytes | None
) -> list[str]:
    try:
        unknown, keys = fieldcheck.check(obj, kind, report=report)
    except fieldcheck.DecodeError as error:
        raise _unhandled(gvk, default or gvk, str(error)) from None
    if duplicates is not None and walk.count_keys(duplicates) != keys:
        return fieldcheck.strict_messages(jsonscan.pairs(duplicates), kind)
    return [f"unknown field {quote(path)}" for path in unknown]


def _duplicates_only(obj: Object, body: bytes) -> list[str]:
    state = walk.Walk(False)
    state.count(obj)
    if state.keys == walk.count_keys(body):
        return []
    return fieldcheck.strict_messages(jsonscan.pairs(body), None)


def _everywhere(gvk: GVK, default: GVK) -> bool:
    """DeleteOptions and the like belong to metav1 and are good under any group."""
    return gvk.kind == default.kind and schema.type_of(gvk) is schema.type_of(default)


def _arranged(obj: Object, gvk: GVK, kind: Type | None) -> Object:
    """kind, apiVersion and metadata first; metadata is there if the type has one."""
    out: Object = {"kind": gvk.kind, "apiVersion": gvk.api_version}
    metadata = kind.fields.get("metadata") if kind is not None else None
    if "metadata" in obj or (metadata is not None and metadata.presence == "always"):
        out["metadata"] = obj.get("metadata", {})
    for key, value in obj.items():
        if key not in ("kind", "apiVersion", "metadata"):
            out[key] = value
    return out


def _decode_protobuf(body: bytes, default: GVK | None, validation: str) -> Decoded:
    from coxswain.api import protobuf

    try:
        obj, gvk = protobuf.decode(body, default)
    except protobuf.ProtobufError as error:
        if error.gvk is not None and default is not None:
            raise _unhandled(error.gvk, default, str(error)) from None
        raise _unrecognized(body, default, error) from None
    if default is not None and gvk != default and not _everywhere(gvk, default):
        gvk = _SAME_AS.get(gvk, gvk)
        if gvk != default:
            raise _mismatch(gvk, default)
    return Decoded(_arranged(obj, gvk, schema.type_of(gvk)), [], gvk)


def _unsupported(protobuf: bool) -> errors.UnsupportedMediaType:
    accepted = _ACCEPTED if protobuf else f"{JSON}, {YAML}"
    return errors.UnsupportedMediaType(
        f"the body of the request was in an unknown format - accepted media types include: {accepted}"
    )


def _unrecognized(body: bytes, default: GVK | None, error: Exception) -> errors.BadRequest:
    wanted = default.kind if default is not None else "Unknown"
    if isinstance(error, jsonscan.JsonError):
        error = ValueError(_NO_KIND + str(error))
    return errors.BadRequest(
        f"the object provided is unrecognized (must be of type {wanted}): {error} ({_summary(body)})"
    )


def _summary(body: bytes, limit: int = 30) -> str:
    """The start of a body for a message: text if it looks like JSON, else hexadecimal."""
    if not body:
        return "<empty>"
    start = body[:limit]
    text = start.decode(errors="replace") if body[:1] == b"{" else start.hex()
    return f"{text} ..." if len(body) > limit else text


def _unhandled(gvk: GVK, default: GVK, why: str) -> errors.BadRequest:
    return errors.BadRequest(
        f'{gvk.kind} in version "{gvk.version}" cannot be handled as a {default.kind}: {why}'
    )


def _not_registered(gvk: GVK) -> str:
    return f"{quote(gvk.kind)} is registered for version {quote(gvk.api_version)}"


def _mismatch(gvk: GVK, default: GVK) -> errors.BadRequest:
    """A kind that is known but is not the endpoint's."""
    if gvk.kind == default.kind and (gvk.group == default.group or gvk.kind == "Event"):
        return errors.BadRequest(
            f"the API version in the data ({gvk.api_version}) does not match the expected API version"
            f" ({default.api_version})"
        )
    internal = default.group.partition(".")[0] or "core"
    return _unhandled(
        gvk,
        default,
        f"converting ({gvk.version}.{gvk.kind}) to ({internal}.{default.kind}): unknown conversion",
    )
