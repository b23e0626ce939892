"""The shapes of every built-in type of Kubernetes v1.36, from the compact table ``data/types.json``.

    schema.type_of(GVK("apps", "v1", "Deployment"))       -> Type or None (unknown, or a custom resource)
    schema.named("io.k8s.api.core.v1.PodSpec")            -> Type (KeyError when there is none)
    pod.fields["spec"].ref.fields["containers"].element.ref.fields["ports"].list_keys
                                                          -> ("containerPort", "protocol")

``Type.kind`` and ``Field.kind`` are one of
    ref        an object with fields of its own: ``.ref`` is its Type (resolved on first use)
    array, map ``.element`` is the Field of its values
    string, boolean, integer (format int32 or int64), number (double)
    bytes      base64 text
    time, microtime, quantity, intorstring
    object     free-form JSON object (RawExtension, FieldsV1)
    any        free-form JSON (JSON, JSONSchemaPropsOrBool ...)

The table is read once, in about 4 ms, and a Type is built when it is first asked for. Types and fields are
shared and never change. A custom resource's schema makes the same objects with ``Type``/``Field`` directly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import orjson

from coxswain.api.names import GVK

#: Types that are one value on the wire -> their kind.
SCALAR_KINDS: Mapping[str, str] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "microtime",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "intorstring",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": "object",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Patch": "object",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "object",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray": "any",
}

_PLAIN: Mapping[str, tuple[str, str, str]] = {
    # table's type -> kind, format, Go's name
    "string": ("string", "", "string"),
    "boolean": ("boolean", "", "bool"),
    "integer:int32": ("integer", "int32", "int32"),
    "integer:int64": ("integer", "int64", "int64"),
    "number:double": ("number", "double", "float64"),
    "string:byte": ("bytes", "byte", "[]uint8"),
}


@dataclass(slots=True, eq=False)
class Field:
    """One field of a type, or the values of an array or map."""

    name: str
    #: See the module's text.
    kind: str
    format: str = ""
    #: The published name of the type that ``ref`` (or a quantity, time ...) refers to.
    ref_name: str = ""
    element: Field | None = None
    #: ``atomic``, ``set`` or ``map``: how server-side apply merges a list.
    list_type: str | None = None
    list_keys: tuple[str, ...] = ()
    #: ``merge``, ``retainKeys``, ``merge,retainKeys``, ``replace``: how strategic merge patch goes about it.
    patch_strategy: str | None = None
    merge_key: str | None = None
    #: ``atomic`` or ``granular``: how server-side apply merges a map or object.
    map_type: str | None = None
    #: What a missing value means (it matters where the field is a list's key).
    default: Any = None
    enum: tuple[str, ...] = ()
    #: What Go's encoding does with it: ``pointer`` (written when set, even when zero), ``value`` (dropped when
    #: empty), ``always`` (written even when empty), ``nullable`` (null when not set).
    presence: str = "pointer"
    #: The type as Go prints it in a decoding error: ``v1.RestartPolicy``, ``[]v1.Container``.
    go_type: str = ""
    #: Number in the protobuf form; None for what an inlined message carries.
    number: int | None = None
    _ref: Type | None = field(default=None, repr=False)

    @property
    def ref(self) -> Type:
        """The Type of a ``ref`` field."""
        if self._ref is None:
            self._ref = named(self.ref_name)
        return self._ref

    @property
    def target(self) -> Type | None:
        """The Type below: of the field itself, or of its elements; None for scalars."""
        inner: Field = self
        while inner.element is not None:
            inner = inner.element
        return inner.ref if inner.kind == "ref" else None


@dataclass(slots=True, eq=False)
class Type:
    """One type. ``fields`` is in the order of Kubernetes' own structs."""

    #: ``io.k8s.api.core.v1.Pod``.
    name: str
    fields: Mapping[str, Field]
    required: frozenset[str] = frozenset()
    gvks: tuple[GVK, ...] = ()
    #: ``ref`` for an object with fields, else as Field.kind.
    kind: str = "ref"
    map_type: str | None = None
    unions: tuple[Mapping[str, Any], ...] = ()
    #: Whether fields that are not declared are kept too, whatever they hold (custom resources can say so).
    open: bool = False

    @property
    def go_name(self) -> str:
        """The bare name, as Go's errors print it: ``PodSpec``."""
        return self.name.rpartition(".")[2]

    def __repr__(self) -> str:
        return f"Type({self.name})"


_PRESENCE = {"p": "pointer", "v": "value", "a": "always", "n": "nullable"}


@cache
def _table() -> dict[str, Any]:
    data = resources.files("coxswain.api").joinpath("data/types.json").read_bytes()
    table: dict[str, Any] = orjson.loads(data)
    return table


@cache
def _kinds() -> dict[GVK, str]:
    kinds: dict[GVK, str] = {}
    for group_version, names in _table()["kinds"].items():
        group, _, version = group_version.rpartition("/")
        for kind, name in names.items():
            kinds[GVK(group, version, kind)] = name
    return kinds


_types: dict[str, Type] = {}


def version() -> str:
    """The Kubernetes version that the tables describe: ``1.36.2``."""
    return str(_table()["kubernetes"])


def names() -> Iterator[str]:
    """Every type's published name."""
    return iter(_table()["types"])


def type_of(gvk: GVK) -> Type | None:
    """The type of a built-in kind; None for one that the tables do not have."""
    name = _kinds().get(gvk)
    if name is not None:
        return named(name)
    if gvk.kind in _EVERYWHERE:
        # These belong to metav1 and are known in every group.
        return named(f"io.k8s.apimachinery.pkg.apis.meta.v1.{gvk.kind}")
    return None


_EVERYWHERE = frozenset({"DeleteOptions", "WatchEvent"})


def named(name: str) -> Type:
    """The type of this published name; KeyError when there is none."""
    known = _types.get(name)
    if known is None:
        known = _types[name] = _build(name, _table()["types"][name])
    return known


def _build(name: str, row: Mapping[str, Any]) -> Type:
    kind = SCALAR_KINDS.get(name, "ref")
    gvks = tuple(GVK(*text.split("|")) for text in row.get("gvks", ()))
    return Type(
        name,
        {key: _field(key, entry) for key, entry in row.get("fields", {}).items()},
        frozenset(row.get("required", ())),
        gvks,
        kind,
        row.get("map"),
        tuple(row.get("unions", ())),
    )


def _field(name: str, entry: list[Any]) -> Field:
    text, presence, number = entry[:3]
    extra: Mapping[str, Any] = entry[3] if len(entry) > 3 else {}
    made = _typed(name, text)
    made.presence = _PRESENCE[presence]
    made.number = number or None
    made.list_type = extra.get("list")
    made.list_keys = tuple(extra.get("keys", ()))
    made.patch_strategy = extra.get("patch")
    made.merge_key = extra.get("merge")
    made.map_type = extra.get("map")
    made.default = extra.get("default")
    made.go_type = extra.get("go", made.go_type)
    return made


def _typed(name: str, text: str) -> Field:
    """A field of the table's type notation: ``string``, ``[]T``, ``{}T`` or a type's published name."""
    if text.startswith("[]"):
        element = _typed("", text[2:])
        return Field(name, "array", element=element, go_type=f"[]{element.go_type}")
    if text.startswith("{}"):
        element = _typed("", text[2:])
        return Field(name, "map", element=element, go_type=f"map[string]{element.go_type}")
    if plain := _PLAIN.get(text):
        kind, fmt, go_type = plain
        return Field(name, kind, fmt, go_type=go_type)
    return Field(name, SCALAR_KINDS.get(text, "ref"), ref_name=text, go_type=".".join(text.split(".")[-2:]))
