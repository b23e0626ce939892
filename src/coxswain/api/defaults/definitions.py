"""Defaults of CustomResourceDefinitions: names that follow from the kind, no conversion."""

from __future__ import annotations

from coxswain.api.names import Object


def _definition(definition: Object) -> None:
    spec = definition.get("spec")
    if not isinstance(spec, dict):
        return
    names = spec.setdefault("names", {})
    kind = names.get("kind") or ""
    if not names.get("singular") and kind:
        names["singular"] = kind.lower()
    if not names.get("listKind") and kind:
        names["listKind"] = f"{kind}List"
    conversion = spec.setdefault("conversion", {"strategy": "None"})
    client = (conversion.get("webhook") or {}).get("clientConfig") or {}
    if isinstance(client.get("service"), dict):
        client["service"].setdefault("port", 443)


DEFAULTS = {("apiextensions.k8s.io", "CustomResourceDefinition"): _definition}
