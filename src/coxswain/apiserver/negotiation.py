"""Which representation of an object a client wants: the Accept header.

Servable are JSON, YAML and protobuf; objects and lists also as ``Table`` and ``PartialObjectMetadata(List)``
of meta.k8s.io/v1. A client that accepts JSON at all gets JSON, whatever it would like better: JSON is what
lies in the cache. Headers repeat endlessly, so parsed ones are remembered.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import orjson

from coxswain.api import errors
from coxswain.api.names import Object
from coxswain.client.interface import NOTHING

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"

_MEDIA_TYPES = {
    JSON: JSON,
    "*/*": JSON,
    "application/*": JSON,
    YAML: YAML,
    "text/yaml": YAML,
    PROTOBUF: PROTOBUF,
}
_AS = frozenset({"Table", "PartialObjectMetadata", "PartialObjectMetadataList"})
_REFUSAL = f"only the following media types are accepted: {JSON}, {YAML}, {PROTOBUF}"


class Representation(NamedTuple):
    """``media_type`` of the body; ``shape`` is empty (the object itself), Table or PartialObjectMetadata."""

    media_type: str = JSON
    shape: str = ""
    version: str = "v1"

    @property
    def is_plain(self) -> bool:
        """Whether the bytes of the cache can be served as they are."""
        return self.media_type == JSON and not self.shape


PLAIN = Representation()
#: What components ask for that need no more than a success's code: an empty body.
EMPTY = Representation(NOTHING)


@lru_cache(maxsize=512)
def negotiate(accept: str) -> Representation:
    """The best representation for an Accept header. Raises ``NotAcceptable``."""
    if not accept or accept == JSON:
        return PLAIN
    if accept == NOTHING:
        return EMPTY
    choices: list[Representation] = []
    for clause in accept.split(","):
        choice = _clause(clause)
        if choice is not None:
            choices.append(choice)
    if not choices:
        raise errors.NotAcceptable(_REFUSAL)
    # The first shape wins (it is what the client came for); within it JSON is preferred.
    shape = choices[0].shape
    for choice in choices:
        if choice.shape == shape and choice.media_type == JSON:
            return choice
    return next((choice for choice in choices if choice.media_type == JSON), choices[0])


def without_tables(accept: str) -> str:
    """The header less the tables that it asks for: what has none is shown in another form, if one is accepted."""
    left = [clause for clause in accept.split(",") if "as=Table" not in clause.replace(" ", "")]
    return ",".join(left) or "application/x-unavailable"


def _clause(clause: str) -> Representation | None:
    media, *parameters = (part.strip() for part in clause.split(";"))
    media_type = _MEDIA_TYPES.get(media.lower())
    if media_type is None:
        return None
    options = dict(part.split("=", 1) for part in parameters if "=" in part)
    shape = options.get("as", "")
    if not shape:
        return Representation(media_type)
    version = options.get("v", "")
    if shape not in _AS or options.get("g") != "meta.k8s.io" or version not in ("v1", "v1beta1"):
        return None
    if shape == "Table" and media_type == PROTOBUF:
        return None
    return Representation(media_type, shape.removesuffix("List"), version)


def check_streamable(representation: Representation, *, custom: bool = False) -> None:
    """Watches come in JSON, and of built-in kinds in protobuf. Raises ``NotAcceptable`` for anything else."""
    media_type = representation.media_type
    if media_type == YAML or (custom and media_type == PROTOBUF and not representation.shape):
        accepted = f"{JSON};stream=watch"
        if not custom:
            accepted += f", {PROTOBUF};stream=watch"
        raise errors.NotAcceptable(f"only the following media types are accepted: {accepted}")


def encode(obj: Object, media_type: str, *, pretty: bool = False) -> bytes:
    """``obj`` in a media type that ``negotiate`` gave."""
    if media_type == PROTOBUF:
        from coxswain.api import codec

        return codec.encode_protobuf(obj)
    if media_type == YAML:
        from coxswain.api import codec

        return codec.encode_yaml(obj)
    return orjson.dumps(obj, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE if pretty else None)
