"""Resources of a whole pod (``spec.resources``) against those of its containers."""

from __future__ import annotations

from coxswain.api.fields import Errors, forbidden, invalid
from coxswain.api.names import Object
from coxswain.api.quantity import Quantity
from coxswain.api.validation.resources import container_requests, validate_requirements


def validate_pod_resources(spec: Object, claims: set[str], path: str, errors: Errors) -> None:
    """Well formed, at least what the containers request, at most their limits allow."""
    resources, here = spec["resources"], f"{path}.resources"
    if resources.get("claims") is not None:
        errors.append(forbidden(f"{here}.claims", "claims may not be set for Resources at pod-level"))
    validate_requirements(resources, here, errors, claims, "pod")
    own = resources.get("requests") or {}
    for name, total in container_requests(spec).items():
        amount = Quantity.parse(own.get(name, 0))
        if total > amount:
            why = f"must be greater than or equal to aggregate container requests of {total}"
            errors.append(invalid(f"{here}.requests[{name}]", str(amount), why))
    limits = resources.get("limits") or {}
    for position, container in enumerate(spec.get("containers") or ()):
        for name, value in ((container.get("resources") or {}).get("limits") or {}).items():
            if name in limits and Quantity.parse(value) > Quantity.parse(limits[name]):
                why = f"must be less than or equal to pod limits of {Quantity.parse(limits[name])}"
                field = f"{here}.containers[{position}][{name}].limits"
                errors.append(invalid(field, str(Quantity.parse(value)), why))
