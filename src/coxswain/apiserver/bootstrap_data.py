"""Makes ``data/bootstrap.json`` from the recorded objects of a new cluster.

    python -m coxswain.apiserver.bootstrap_data bootstrap-objects.json

The compact form leaves out what all objects of a kind share and writes rules and subjects as short lists:

    rule      [verbs, groups, resources, names]  or  [verbs, urls]
    subject   [kind, name, namespace]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from coxswain.api.names import Object

TARGET = Path(__file__).with_name("data") / "bootstrap.json"

#: Of the distribution that the objects were recorded from, not of Kubernetes.
FOREIGN = frozenset({"system:controller:service-ca-cert-publisher"})


def compact(facts: dict[str, list[Object]]) -> dict[str, list[Any]]:
    """The compact tables of recorded objects."""
    return {
        "clusterroles": [_role(o) for o in _own(facts["clusterroles"])],
        "clusterrolebindings": [_binding(o) for o in _own(facts["clusterrolebindings"])],
        "roles": [_role(o) for o in facts["roles"]],
        "rolebindings": [_binding(o) for o in facts["rolebindings"]],
        "priorityclasses": [
            [o["metadata"]["name"], o["value"], o["description"]] for o in facts["priorityclasses"]
        ],
        "flowschemas": [[o["metadata"]["name"], o["spec"]] for o in facts["flowschemas"]],
        "prioritylevels": [[o["metadata"]["name"], o["spec"]] for o in facts["prioritylevels"]],
    }


def _own(objects: list[Object]) -> list[Object]:
    return [obj for obj in objects if obj["metadata"]["name"] not in FOREIGN]


def _role(obj: Object) -> list[Any]:
    meta = obj["metadata"]
    labels = sorted(label for label in meta["labels"] if label != "kubernetes.io/bootstrapping")
    aggregated = [
        label
        for selector in (obj.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()
        for label in selector["matchLabels"]
    ]
    rules = [_rule(rule) for rule in obj.get("rules") or ()]
    return [meta["name"], meta.get("namespace", ""), labels, aggregated, rules]


def _rule(rule: Object) -> list[Any]:
    if "nonResourceURLs" in rule:
        return [rule["verbs"], rule["nonResourceURLs"]]
    row = [rule["verbs"], rule["apiGroups"], rule["resources"], rule.get("resourceNames", [])]
    return row if row[3] else row[:3]


def _binding(obj: Object) -> list[Any]:
    meta, ref = obj["metadata"], obj["roleRef"]
    subjects = [
        [s["kind"], s["name"], s["namespace"]] if "namespace" in s else [s["kind"], s["name"]]
        for s in obj.get("subjects") or ()
    ]
    return [meta["name"], meta.get("namespace", ""), ref["kind"], ref["name"], subjects]


def main(arguments: list[str]) -> None:
    """Read the facts that the first argument names, write the data file."""
    facts = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    TARGET.parent.mkdir(exist_ok=True)
    lines = ",\n".join(
        f'"{name}":[\n' + ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "\n]"
        for name, rows in compact(facts).items()
    )
    TARGET.write_text("{\n" + lines + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
