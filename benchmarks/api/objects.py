"""One ordinary pod, step by step: decode, default, validate, encode, patch, apply, and a protobuf body."""

from __future__ import annotations

import orjson

from benchmarks.end_to_end.api_server import ordinary_pod
from coxswain.api import codec, defaults, managedfields, patch, schema, tables, validation
from coxswain.api.names import GVK, PODS, Object

POD = GVK("", "v1", "Pod")
NOW = "2026-01-01T00:00:00Z"


def _decoded(body: bytes) -> Object:
    obj = codec.decode(body, codec.JSON, POD, "Strict").obj
    obj["metadata"] |= {"name": "p", "namespace": "default"}
    return obj


class OnePod:
    """Microseconds a pod of 3.5 KB."""

    def setup(self) -> None:
        self.body = ordinary_pod(1)
        pod = _decoded(self.body)
        defaults.default(pod, POD)
        codec.complete(pod, POD)
        self.type = schema.type_of(POD)
        self.pod = pod
        self.stored = codec.encode(pod)
        self.protobuf = codec.encode_protobuf(pod)
        self.change = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
        self.time_validate()
        assert orjson.loads(self.stored) == pod
        assert codec.decode(self.protobuf, codec.PROTOBUF, POD, "Strict").obj["spec"]["containers"]
        patched = patch.strategic_merge_patch(pod, self.change, self.type)
        assert patched["status"]["phase"] == "Running"
        assert patched["spec"] == pod["spec"]

    def time_decode_strictly(self) -> None:
        codec.decode(self.body, codec.JSON, POD, "Strict")

    def time_decode_protobuf(self) -> None:
        codec.decode(self.protobuf, codec.PROTOBUF, POD, "Strict")

    def time_decode_and_default(self) -> None:
        pod = _decoded(self.body)
        defaults.default(pod, POD)
        codec.complete(pod, POD)

    def time_validate(self) -> None:
        problems = validation.validate_create(self.pod, POD)
        assert not problems, problems

    def time_encode(self) -> None:
        codec.encode(self.pod)

    def time_encode_protobuf(self) -> None:
        codec.encode_protobuf(self.pod)

    def time_strategic_merge_patch(self) -> None:
        patch.strategic_merge_patch(self.pod, self.change, self.type)

    def time_table_row(self) -> None:
        tables.table(PODS, [self.pod], now=0.0, include_object="None", list_meta={})


class Apply:
    """Server-side apply of one pod, over what the same manager applied before."""

    def setup(self) -> None:
        self.type = schema.type_of(POD)
        self.applied = _decoded(ordinary_pod(1))
        self.live = self._apply(None)
        assert [entry["manager"] for entry in self.live["metadata"]["managedFields"]] == ["bench"]

    def _apply(self, live: Object | None) -> Object:
        return managedfields.apply(
            live, self.applied, manager="bench", force=False, subresource="", type=self.type, now=NOW
        )

    def time_apply_unchanged(self) -> None:
        self._apply(self.live)
