"""Request bodies as objects of the right kind, in the words that Kubernetes refuses others with."""

from __future__ import annotations

from coxswain.api import codec, errors
from coxswain.api.fields import quote
from coxswain.api.names import GVK, Object
from coxswain.api.structural import CoerceError
from coxswain.apiserver.options import FieldValidation
from coxswain.apiserver.request import Context

_UNKNOWN_FORMAT = "the body of the request was in an unknown format - accepted media types include: "


def media_type_of(content_type: str) -> str:
    """The bare media type of a Content-Type header; JSON where there is none."""
    return content_type.partition(";")[0].strip().lower() or "application/json"


def refuse_media_type(accepted: tuple[str, ...]) -> errors.UnsupportedMediaType:
    """The answer to a body in a format that is not understood here."""
    return errors.UnsupportedMediaType(_UNKNOWN_FORMAT + ", ".join(accepted))


def decode_body(ctx: Context, gvk: GVK, validation: FieldValidation) -> Object:
    """The body as an object of ``gvk``, the caller's own; ``metadata`` is always there.

    Strict-decoding problems become warnings under ``Warn``. Raises ``BadRequest`` and
    ``UnsupportedMediaType``.
    """
    if ctx.entry.conform is not None and gvk == ctx.entry.gvk:
        # Everything is looked at before anything is told, so that unknown fields stand beside repeated ones.
        asked: FieldValidation = "Ignore" if validation == "Ignore" else "Warn"
        decoded = codec.decode(ctx.body, ctx.content_type, gvk, asked, protobuf=False)
        return conform_custom(ctx, decoded.obj, decoded.warnings, validation)
    decoded = codec.decode(ctx.body, ctx.content_type, gvk, validation, protobuf=not ctx.entry.custom)
    ctx.warnings.extend(decoded.warnings)
    return with_metadata(decoded.obj)


def conform(ctx: Context, obj: Object, validation: FieldValidation) -> Object:
    """What a patch made, checked as if it had been sent whole. Raises ``BadRequest``."""
    if ctx.entry.conform is not None:
        return conform_custom(ctx, codec.conform(obj, ctx.entry.gvk, "Ignore").obj, [], validation)
    decoded = codec.conform(obj, ctx.entry.gvk, validation)
    ctx.warnings.extend(warning for warning in decoded.warnings if warning not in ctx.warnings)
    return with_metadata(decoded.obj)


def conform_custom(ctx: Context, obj: Object, strict: list[str], validation: FieldValidation) -> Object:
    """A custom object with its metadata typed and unknown fields gone. Raises ``BadRequest``."""
    entry = ctx.entry
    assert entry.conform is not None
    with_metadata(obj)
    start = f'{obj["kind"]} in version "{entry.gvk.version}" cannot be handled as a {entry.kind}: '
    if obj["apiVersion"] != entry.gvk.api_version:
        raise errors.BadRequest(
            f"the API version in the data ({obj['apiVersion']}) does not match the expected API version"
            f" ({entry.gvk.api_version})"
        )
    try:
        unknown = entry.conform(obj)
    except CoerceError as error:
        raise errors.BadRequest(start + str(error)) from None
    strict = strict + [f"unknown field {quote(path)}" for path in unknown]
    if strict and validation == "Strict":
        raise errors.BadRequest(f"{start}strict decoding error: {', '.join(strict)}")
    if validation == "Warn":
        ctx.warnings.extend(warning for warning in strict if warning not in ctx.warnings)
    return obj


def with_metadata(obj: Object) -> Object:
    """``obj``, in which ``metadata`` is an object."""
    if not isinstance(obj.get("metadata"), dict):
        obj["metadata"] = {}
    return obj


def settle_namespace(ctx: Context, obj: Object) -> None:
    """Give ``obj`` the namespace of the request, or refuse another. Raises ``BadRequest``."""
    metadata = obj["metadata"]
    found = metadata.get("namespace") or ""
    if not ctx.entry.namespaced:
        metadata.pop("namespace", None)
    elif not found:
        metadata["namespace"] = ctx.namespace
    elif found != ctx.namespace:
        raise errors.BadRequest(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


def settle_name(ctx: Context, obj: Object) -> None:
    """Give ``obj`` the name of the request, or refuse another. Raises ``BadRequest``."""
    metadata = obj["metadata"]
    found = metadata.get("name") or ""
    if not found:
        metadata["name"] = ctx.name
    elif found != ctx.name:
        raise errors.BadRequest(
            f"the name of the object ({found}) does not match the name on the URL ({ctx.name})"
        )
