"""Recorded answers of a real cluster, where the recording is at hand: owners of fields and table cells."""

import copy
import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coxswain.api import kinds, schema
from coxswain.api.managedfields import track_update
from coxswain.api.names import GVK, GVR
from coxswain.api.tables import table
from coxswain.base.clock import parse_time

RECORDING = Path(os.environ.get("COXSWAIN_RECORDED", "recorded")) / "api_cases.jsonl.gz"
pytestmark = pytest.mark.skipif(
    not RECORDING.exists(), reason="set COXSWAIN_RECORDED to the directory of recorded conversations"
)


def steps() -> Iterator[tuple[str, dict[str, Any], int, Any]]:
    with gzip.open(RECORDING, "rt") as lines:
        for line in lines:
            case = json.loads(line)
            for step, want in zip(case["steps"], case["want"], strict=True):
                if isinstance(want["body"], dict):
                    yield case["id"], step, want["code"], want["body"]


def missing(want: Any, got: Any, path: str = "") -> list[str]:
    """Fields that the recording has and we have not."""
    if not isinstance(want, dict):
        return []
    return [path + "/" + name for name in want if name not in got] + [
        fault for name in want if name in got for fault in missing(want[name], got[name], f"{path}/{name}")
    ]


def test_every_recorded_create_has_the_recorded_owners():
    """What the server itself sets after tracking (finalizers, addresses ...) is in the answer: ours has more there."""
    seen = 0
    for case, step, code, body in steps():
        recorded = (body.get("metadata") or {}).get("managedFields")
        if step["method"] != "POST" or code != 201 or not recorded or recorded[0]["operation"] != "Update":
            continue
        group, _, version = body["apiVersion"].rpartition("/")
        obj = copy.deepcopy(body)
        del obj["metadata"]["managedFields"]
        kind = schema.type_of(GVK(group, version, body["kind"]))
        options = {
            "manager": recorded[0]["manager"],
            "api_version": body["apiVersion"],
            "now": recorded[0]["time"],
        }
        track_update(obj, None, type=kind, **options)
        ours = obj["metadata"]["managedFields"][0]
        assert missing(recorded[0]["fieldsV1"], ours["fieldsV1"]) == [], case
        assert {**ours, "fieldsV1": None} == {**recorded[0], "fieldsV1": None}
        seen += 1
    assert seen > 100


def test_every_recorded_table_has_the_recorded_cells():
    objects: dict[tuple[str, str], Any] = {}
    seen = 0
    for case, step, _, body in steps():
        metadata = body.get("metadata") or {}
        if body.get("kind") != "Table":
            if metadata.get("name") and step["method"] != "DELETE":
                objects[case, metadata["name"]] = body
            continue
        gvr = resource_of(step["path"])
        if kinds.by_gvr(gvr) is None:
            continue
        for row in body["rows"]:
            obj = objects.get((case, row["object"]["metadata"]["name"]))
            if obj is None or "spec.nodeName" in step["path"] or row["object"]["metadata"] != obj["metadata"]:
                continue
            age = next((int(cell[0]) for cell in row["cells"] if cell in ("0s", "1s", "2s")), 0)
            made = table(gvr, [obj], now=parse_time(obj["metadata"]["creationTimestamp"]) + age)
            assert made["rows"][0]["cells"] == row["cells"], case
            seen += 1
    assert seen > 100


def resource_of(path: str) -> GVR:
    parts = path.partition("?")[0].strip("/").split("/")
    group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
    if rest[0] == "namespaces" and len(rest) > 2:
        rest = rest[2:]
    return GVR(group, version, rest[0])
