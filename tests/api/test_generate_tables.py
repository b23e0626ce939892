"""The generator turns published facts into tables; run on facts small enough to read."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from coxswain.api import generate, gofacts, protofacts

PREFIX = "io.k8s.api.core.v1."
TYPES: dict[str, Any] = {
    PREFIX + "Pod": {
        "fields": {
            "kind": {"type": "string"},
            "spec": {"type": PREFIX + "PodSpec", "n": 2, "proto": "PodSpec"},
            "uid": {"type": "string"},
        },
        "gvk": [{"group": "", "version": "v1", "kind": "Pod"}],
    },
    PREFIX + "PodSpec": {
        "fields": {
            "volumes": {
                "type": ["array", PREFIX + "Volume"],
                "n": 1,
                "proto": "Volume",
                "list": "map",
                "keys": ["name"],
                "patch": "merge",
                "mergeKey": "name",
            },
            "nodeSelector": {
                "type": ["map", "string"],
                "n": 7,
                "proto": "map<string, string>",
                "map": "atomic",
            },
            "policy": {"type": "string", "n": 3, "proto": "string"},
        },
        "required": ["volumes"],
    },
    PREFIX + "Volume": {
        "fields": {"name": {"type": "string", "n": 1, "proto": "string"}, "path": {"type": "string"}},
    },
}
MESSAGES = {
    "k8s.io.api.core.v1.Pod": {"spec": {"n": 2, "p": "PodSpec"}, "uID": {"n": 3, "p": "string"}},
    "k8s.io.api.core.v1.PodSpec": {
        "volumes": {"n": 1, "p": "Volume", "rep": 1},
        "nodeSelector": {"n": 7, "p": "map<string, string>"},
        "policy": {"n": 3, "p": "string"},
    },
    "k8s.io.api.core.v1.Volume": {
        "name": {"n": 1, "p": "string"},
        "volumeSource": {"n": 2, "p": "VolumeSource"},
    },
    "k8s.io.api.core.v1.VolumeSource": {"path": {"n": 1, "p": "string"}},
}
GO = """package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

type Policy string

type Pod struct {
	metav1.TypeMeta `json:",inline"`
	Spec PodSpec `json:"spec,omitempty" protobuf:"bytes,2,opt,name=spec"`
	Hidden string `json:"-"`
}

type PodSpec struct {
	Volumes []Volume `json:"volumes"`
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// How.
	// +default="Once"
	Policy *Policy `json:"policy,omitempty"`
	Since metav1.Time `json:"since,omitempty,omitzero"`
}

type Volume struct {
	Name string `json:"name"`
	VolumeSource `json:",inline"`
}

type VolumeSource struct {
	Path string `json:"path,omitempty"`
}
"""
GO_META = """package v1

type TypeMeta struct {
	Kind string `json:"kind,omitempty"`
}

type Time struct {
	time.Time
}
"""


@pytest.fixture
def go_tree(tmp_path: Path) -> Path:
    for path, text in (("api/core/v1/types.go", GO), ("apimachinery/pkg/apis/meta/v1/types.go", GO_META)):
        file = tmp_path / "go" / path
        file.parent.mkdir(parents=True)
        file.write_text(text)
    (tmp_path / "go/api/core/v1/zz_generated.go").write_text("type Volume struct {\n}\n")
    return tmp_path / "go"


def test_go_structs_tell_presence_and_type_names(go_tree: Path) -> None:
    fields = gofacts.read(go_tree)[PREFIX + "PodSpec"]
    assert fields["volumes"] == gofacts.GoField("[]v1.Volume", False, False, False, "list")
    assert fields["nodeSelector"].type == "map[string]string"
    assert fields["policy"] == gofacts.GoField("v1.Policy", True, True, False, "scalar", '"Once"')
    assert fields["since"].omitzero
    pod = gofacts.read(go_tree)[PREFIX + "Pod"]
    assert list(pod) == ["kind", "spec"]
    assert pod["spec"].shape == "struct"


def test_embedded_structs_are_flattened(go_tree: Path) -> None:
    assert list(gofacts.read(go_tree)[PREFIX + "Volume"]) == ["name", "path"]


def test_inlined_messages_and_odd_names_are_resolved() -> None:
    table = protofacts.messages(TYPES, MESSAGES)
    assert table["k8s.io.api.core.v1.Pod"] == [
        [2, "spec", "k8s.io.api.core.v1.PodSpec", ""],
        [3, "uid", "string", ""],
    ]
    assert table["k8s.io.api.core.v1.PodSpec"][0] == [1, "volumes", "k8s.io.api.core.v1.Volume", "rep"]
    assert table["k8s.io.api.core.v1.PodSpec"][2] == [7, "nodeSelector", "string", "map"]
    assert table["k8s.io.api.core.v1.Volume"][1] == [
        2,
        "volumeSource",
        "k8s.io.api.core.v1.VolumeSource",
        "inline",
    ]


def test_a_message_that_nobody_has_is_an_error() -> None:
    broken = {"k8s.io.api.core.v1.Pod": {"spec": {"n": 2, "p": "Nothing"}}}
    with pytest.raises(ValueError, match="no message Nothing"):
        protofacts.messages(TYPES, broken)


def test_the_generator_writes_every_table(tmp_path: Path, go_tree: Path) -> None:
    facts, out = tmp_path / "facts", tmp_path / "out"
    facts.mkdir()
    out.mkdir()
    published = {"kubernetes": "1.36.2", "types": TYPES, "protoMessages": MESSAGES}
    (facts / "types.json.gz").write_bytes(gzip.compress(orjson.dumps(published)))
    pods = {
        "name": "pods",
        "singularName": "pod",
        "namespaced": True,
        "kind": "Pod",
        "verbs": ["get", "watch"],
    }
    status = {"name": "pods/status", "singularName": "", "namespaced": True, "kind": "Pod", "verbs": ["get"]}
    discovery = {"groups": [], "resources": {"core": [pods, status]}}
    (facts / "discovery.json").write_bytes(orjson.dumps(discovery))
    (facts / "table-columns.json").write_bytes(orjson.dumps({"core/pods": [["Name", "string", "name", 0]]}))

    assert generate.main(["--facts", str(facts), "--go", str(go_tree), "--out", str(out)]) == 0

    types = orjson.loads((out / "types.json").read_bytes())
    assert types["kinds"] == {"/v1": {"Pod": PREFIX + "Pod"}}
    spec = types["types"][PREFIX + "PodSpec"]
    assert spec["required"] == ["volumes"]
    assert spec["fields"]["volumes"] == [
        f"[]{PREFIX}Volume",
        "a",
        1,
        {"list": "map", "keys": ["name"], "patch": "merge", "merge": "name"},
    ]
    assert spec["fields"]["nodeSelector"] == ["{}string", "v", 7, {"map": "atomic"}]
    assert spec["fields"]["policy"] == ["string", "p", 3, {"default": "Once", "go": "v1.Policy"}]
    kinds = orjson.loads((out / "kinds.json").read_bytes())
    assert kinds["resources"]["/v1"][0]["storageVersionHash"] == "xPOwRZ+Yhw8="
    assert "storageVersionHash" not in kinds["resources"]["/v1"][1]
    assert orjson.loads((out / "columns.json").read_bytes()) == {"v1/pods": [["Name", "string", "name", 0]]}


@pytest.mark.skipif("COXSWAIN_FACTS" not in os.environ, reason="needs the published facts in COXSWAIN_FACTS")
def test_the_committed_tables_are_what_the_generator_makes(tmp_path: Path) -> None:
    generate.main(["--facts", os.environ["COXSWAIN_FACTS"], "--out", str(tmp_path)])
    for made in tmp_path.iterdir():
        assert made.read_bytes() == (generate.DATA / made.name).read_bytes(), made.name
