"""Makes the compact tables of ``api/data`` from published facts: ``python -m coxswain.api.generate --facts DIR``.

    types.json      every type: fields, merge rules, protobuf numbers, what encoding leaves out
    protobuf.json   every message that a type is sent as: field numbers and wire types
    kinds.json      groups, resources and subresources in discovery's order
    columns.json    the columns of server-printed tables

``--go DIR`` (trees of k8s.io/api and its siblings, see gofacts) renews ``presence.json``, the facts that only
Go's structs hold; without it the committed ones are used. The output is deterministic, a row a line.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from coxswain.api import gofacts, protofacts

DATA = Path(__file__).parent / "data"


def main(argv: list[str] | None = None) -> int:
    """Write every table; the arguments are in the module's text."""
    parser = argparse.ArgumentParser(prog="coxswain.api.generate", description=__doc__)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--go", type=Path)
    parser.add_argument("--out", type=Path, default=DATA)
    options = parser.parse_args(argv)
    facts = orjson.loads(gzip.decompress((options.facts / "types.json.gz").read_bytes()))
    committed = DATA / "presence.json"
    if options.go:
        committed = options.out / "presence.json"
        _write(committed, presence(facts["types"], gofacts.read(options.go)))
    known = orjson.loads(committed.read_bytes())
    types = {name: type_row(row, known.get(name, {})) for name, row in sorted(facts["types"].items())}
    _write(
        options.out / "types.json",
        {"kubernetes": facts["kubernetes"], "kinds": kinds_index(facts["types"]), "types": types},
        nested=("kinds", "types"),
    )
    _write(options.out / "protobuf.json", protofacts.messages(facts["types"], facts["protoMessages"]))
    discovery = orjson.loads((options.facts / "discovery.json").read_bytes())
    _write(options.out / "kinds.json", resource_rows(discovery), nested=("resources",))
    columns = orjson.loads((options.facts / "table-columns.json").read_bytes())
    _write(
        options.out / "columns.json",
        {name.replace("core/", "v1/", 1): rows for name, rows in columns.items()},
    )
    return 0


def presence(
    types: Mapping[str, Any], go: Mapping[str, Mapping[str, gofacts.GoField]]
) -> dict[str, dict[str, list[str]]]:
    """Type -> field (in Go's order) -> [presence letter, Go type, default as JSON text]."""
    table: dict[str, dict[str, list[str]]] = {}
    for name, row in sorted(types.items()):
        fields = row.get("fields", {})
        kept = {key: found for key, found in go.get(name, {}).items() if key in fields}
        if kept:
            table[name] = {key: [_letter(found), found.type, found.default] for key, found in kept.items()}
    return table


def _letter(found: gofacts.GoField) -> str:
    """What Go's encoder does: p(ointer), v(alue dropped when empty), a(lways written), n(ull when not set)."""
    if found.pointer:
        return "p" if found.omitempty else "n"
    if found.omitzero:
        return "v"
    if found.omitempty and found.shape != "struct":
        return "v"
    return "a"


def type_row(row: Mapping[str, Any], known: Mapping[str, list[str]]) -> dict[str, Any]:
    """One type of the facts in the table's form."""
    out: dict[str, Any] = {}
    fields = row.get("fields", {})
    ordered = [*(key for key in known if key in fields), *(key for key in fields if key not in known)]
    if fields:
        out["fields"] = {key: _field_row(fields[key], known.get(key)) for key in ordered}
    if row.get("required"):
        out["required"] = row["required"]
    if row.get("gvk") and len(row["gvk"]) < 5:  # metav1's own kinds are registered in every group
        out["gvks"] = [f"{gvk['group']}|{gvk['version']}|{gvk['kind']}" for gvk in row["gvk"]]
    for key in ("map", "unions"):
        if key in row:
            out[key] = row[key]
    return out


def _type_text(value: Any) -> str:
    if isinstance(value, list):
        container, element = value
        return ("[]" if container == "array" else "{}") + _type_text(element)
    return str(value)


def _field_row(entry: Mapping[str, Any], known: list[str] | None) -> list[Any]:
    text = _type_text(entry["type"])
    letter, go_type, default = known or ("p", "", "")
    extra: dict[str, Any] = {}
    for ours, theirs in (("list", "list"), ("keys", "keys"), ("patch", "patch"), ("merge", "mergeKey")):
        if theirs in entry:
            extra[ours] = entry[theirs]
    if "map" in entry:
        extra["map"] = entry["map"]
    if default and not default.startswith("ref("):
        extra["default"] = orjson.loads(default)
    if go_type and go_type != _derived_go_type(text):
        extra["go"] = go_type
    head = [text, letter, entry.get("n", 0)]
    return [*head, extra] if extra else head


def _derived_go_type(text: str) -> str:
    if text.startswith("[]"):
        return "[]" + _derived_go_type(text[2:])
    if text.startswith("{}"):
        return "map[string]" + _derived_go_type(text[2:])
    plain = {
        "string": "string",
        "boolean": "bool",
        "integer:int32": "int32",
        "integer:int64": "int64",
        "number:double": "float64",
        "string:byte": "[]uint8",
    }
    return plain.get(text) or ".".join(text.split(".")[-2:])


def kinds_index(types: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Group/version (``/v1`` for the core) -> kind -> type name."""
    index: dict[str, dict[str, str]] = {}
    for name, row in sorted(types.items()):
        gvks = row.get("gvk", ())
        for gvk in gvks if len(gvks) < 5 else ():
            index.setdefault(f"{gvk['group']}/{gvk['version']}", {})[gvk["kind"]] = name
    return dict(sorted(index.items()))


def resource_rows(discovery: Mapping[str, Any]) -> dict[str, Any]:
    """Groups, and resources with their subresources, in discovery's order."""
    groups = [
        {
            "name": group["name"],
            "versions": [version["version"] for version in group["versions"]],
            "preferred": group["preferredVersion"]["version"],
        }
        for group in discovery["groups"]
    ]
    resources: dict[str, list[Any]] = {}
    order = ["core", *(v["groupVersion"] for group in discovery["groups"] for v in group["versions"])]
    for group_version in order:
        rows = discovery["resources"][group_version]
        group, _, version = ("v1" if group_version == "core" else group_version).rpartition("/")
        resources[f"{group}/{version}"] = [_resource_row(row, group, version) for row in rows]
    return {"groups": groups, "resources": resources}


def _resource_row(row: Mapping[str, Any], group: str, version: str) -> dict[str, Any]:
    out = {
        key: row[key]
        for key in ("name", "singularName", "namespaced", "kind", "group", "version", "verbs", "shortNames")
        if key in row
    }
    if row.get("categories"):
        out["categories"] = row["categories"]
    if "/" not in row["name"] and "watch" in row["verbs"]:
        stored = "/".join((*_STORED_AS.get((group, row["kind"]), (group, version)), row["kind"]))
        out["storageVersionHash"] = base64.b64encode(hashlib.sha256(stored.encode()).digest()[:8]).decode()
    return out


#: Kinds that are stored in another group or version than the one they are served in.
_STORED_AS = {
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"): ("admissionregistration.k8s.io", "v1beta1"),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"): (
        "admissionregistration.k8s.io",
        "v1beta1",
    ),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): ("apiextensions.k8s.io", "v1beta1"),
    ("autoscaling", "HorizontalPodAutoscaler"): ("autoscaling", "v2"),
    ("events.k8s.io", "Event"): ("", "v1"),
}


def _write(path: Path, table: Mapping[str, Any], nested: tuple[str, ...] = ()) -> None:
    """The table as JSON, one row a line (``nested`` names the keys whose rows lie one level deeper)."""
    lines = []
    for key, value in table.items():
        name = orjson.dumps(key).decode()
        if key in nested:
            rows = [
                f" {orjson.dumps(inner).decode()}:{orjson.dumps(row).decode()}"
                for inner, row in value.items()
            ]
            lines.append(f"{name}:{{\n" + ",\n".join(rows) + "\n}")
        else:
            lines.append(f"{name}:{orjson.dumps(value).decode()}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    raise SystemExit(main())
