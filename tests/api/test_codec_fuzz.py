"""Whatever arrives, decoding gives an object or an ApiError; and our protobuf is what Google's reader reads."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import orjson
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_samples import kinds_with_types, sample
from coxswain.api import codec, errors, protobuf, schema
from coxswain.api.names import GVK

KINDS = [
    GVK("", "v1", "Pod"),
    GVK("", "v1", "Secret"),
    GVK("", "v1", "Event"),
    GVK("apps", "v1", "Deployment"),
    GVK("coordination.k8s.io", "v1", "Lease"),
    GVK("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
    GVK("meta.k8s.io", "v1", "DeleteOptions"),
    GVK("example.com", "v1", "Widget"),
]
MEDIA_TYPES = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "",
    "a;b",
    "text/html",
]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
keys = st.sampled_from(
    ["metadata", "spec", "kind", "apiVersion", "status", "data", "name", "labels", "a.b", ""]
)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


def decode_or_refuse(body: bytes, media_type: str, gvk: GVK, validation: str) -> None:
    try:
        decoded = codec.decode(body, media_type, gvk, validation)
    except errors.ApiError as error:
        assert error.code in (400, 415)
        return
    codec.complete(decoded.obj, gvk)
    assert orjson.loads(codec.encode(decoded.obj)) == decoded.obj
    assert decoded.obj["kind"]


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(trees, st.sampled_from(KINDS), st.sampled_from(["Strict", "Warn", "Ignore"]))
def test_any_json_tree(tree: Any, gvk: GVK, validation: str) -> None:
    decode_or_refuse(
        orjson.dumps(tree, default=str, option=orjson.OPT_PASSTHROUGH_DATETIME) if _fits(tree) else b"{",
        "",
        gvk,
        validation,
    )


def _fits(tree: Any) -> bool:
    try:
        orjson.dumps(tree)
    except (TypeError, ValueError):
        return False
    return True


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.binary(max_size=80) | st.text(max_size=60).map(str.encode),
    st.sampled_from(MEDIA_TYPES),
    st.sampled_from(KINDS),
)
def test_any_bytes(body: bytes, media_type: str, gvk: GVK) -> None:
    decode_or_refuse(body, media_type, gvk, "Strict")


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(alphabet=" \n-:[]{}&*!|>'\"#%@,?ab1~<", max_size=40), st.sampled_from(KINDS))
def test_any_text_as_yaml(text: str, gvk: GVK) -> None:
    decode_or_refuse(text.encode(), "application/yaml", gvk, "Strict")


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b"- "])
def test_deep_nesting_is_refused_or_read_but_never_fatal(opening: bytes) -> None:
    for depth in (500, 5_000, 50_000):
        for media_type in MEDIA_TYPES[:2]:
            decode_or_refuse(opening * depth, media_type, KINDS[0], "Strict")
            decode_or_refuse(b'{"metadata":{"annotations":' + opening * depth, media_type, KINDS[0], "Warn")
    closed = b"[" * 5_000 + b"]" * 5_000
    decode_or_refuse(b'{"spec":' + closed + b"}", "", KINDS[0], "Strict")


@cache
def oracle() -> descriptor_pool.DescriptorPool:
    """Google's reader with our table for descriptors."""
    file = descriptor_pb2.FileDescriptorProto(name="all.proto", package="t", syntax="proto2")
    names = {name: name.replace(".", "_") for name in protobuf._table()}
    scalars = {"string": 9, "bytes": 12, "bool": 8, "int32": 5, "int64": 3, "double": 1}
    for name, rows in protobuf._table().items():
        made = file.message_type.add(name=names[name])
        for number, json_name, kind, shape in rows:
            plain = "f_" + "".join(char if char.isalnum() else "_" for char in json_name) + f"_{number}"
            slot = made.field.add(name=plain, number=number, label=3 if shape in ("rep", "map") else 1)
            owner = slot
            if shape == "map":
                entry = made.nested_type.add(name=f"E{number}Entry")
                entry.field.add(name="key", number=1, label=1, type=9)
                owner = entry.field.add(name="value", number=2, label=1)
                slot.type, slot.type_name = 11, f".t.{names[name]}.E{number}Entry"
            if kind in scalars:
                owner.type = scalars[kind]
            else:
                owner.type, owner.type_name = 11, f".t.{names[kind]}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_googles_reader_reads_what_we_write_and_we_what_it_writes(seed: int) -> None:
    rng = random.Random(seed)
    kind = rng.choice(kinds_with_types())
    name = protobuf.message_of(kind.gvks[0])
    assert name is not None
    obj = sample(kind, rng)
    written = protobuf.wire.encode(protobuf.message(name), obj)
    cls = message_factory.GetMessageClass(oracle().FindMessageTypeByName("t." + name.replace(".", "_")))
    read = cls.FromString(written)
    assert unknown_free(read)
    again = read.SerializeToString()
    assert protobuf.wire.decode(protobuf.message(name), again) == protobuf.wire.decode(
        protobuf.message(name), written
    )


def unknown_free(message: Any) -> bool:
    """Whether the reader knew every field (all are written, so sizes agree)."""
    size = message.ByteSize()
    message.DiscardUnknownFields()
    return bool(message.ByteSize() == size)


def test_the_tables_name_a_message_for_every_kind() -> None:
    assert all(protobuf.message_of(gvk) for name in schema.names() for gvk in schema.named(name).gvks)
