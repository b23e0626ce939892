"""Which IP families a service has: decided before its addresses are given out (``initIPFamilyFields``).

    policy            one family configured              two families configured
    SingleStack       one family                         one family
    PreferDualStack   one family                         both
    RequireDualStack  refused                            both

A service that asks for nothing is SingleStack of the cluster's first family; a headless one without a selector has
both families whatever the cluster has, because somebody else writes its endpoints. Nothing turns from one stack to
two, or back, unless its owner changes the policy or names a second address or family.
"""

from __future__ import annotations

from coxswain.api import errors, fields
from coxswain.api.fields import Errors
from coxswain.api.names import Object
from coxswain.api.validation.services import validate_addresses

NONE = "None"
FAMILIES = ("IPv4", "IPv6")
SINGLE_STACK, PREFER_DUAL_STACK, REQUIRE_DUAL_STACK = "SingleStack", "PreferDualStack", "RequireDualStack"

_POLICY = "spec.ipFamilyPolicy"
_TWO = "must be 'RequireDualStack' or 'PreferDualStack' when multiple {} are specified"
_RELEASE = "must be 'SingleStack' to release the secondary {}"


def complete_families(service: Object, old: Object | None, configured: tuple[str, ...]) -> None:
    """Fill in ``ipFamilies`` and ``ipFamilyPolicy``. Raises ``Invalid``.

    ``configured``: the families that the cluster gives addresses of, the default first.
    """
    spec = service["spec"]
    if prefers_what_it_has(service, old):
        return
    before = (old.get("spec") or {}) if old is not None else {}
    policy = spec["ipFamilyPolicy"] = (
        spec.get("ipFamilyPolicy") or before.get("ipFamilyPolicy") or _default_policy(spec)
    )
    problems: Errors = []
    validate_addresses(spec, problems)
    _refuse(service, problems)
    if old is not None:
        _shrink(spec, before, policy, problems)
    if policy == SINGLE_STACK:
        for field, word in (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")):
            if len(spec.get(field) or ()) == 2:
                problems.append(fields.invalid(_POLICY, policy, _TWO.format(word)))
    families = _families_of_addresses(spec, configured, problems)
    _refuse(service, problems)
    if _is_loose(spec):
        families = families or [configured[0]]
        spec["ipFamilies"] = families if policy == SINGLE_STACK else _both(families)
        return
    _check_configured(service, families, policy, configured)
    families = families or [configured[0]]
    spec["ipFamilies"] = _both(families) if policy != SINGLE_STACK and len(configured) == 2 else families


def prefers_what_it_has(service: Object, old: Object | None) -> bool:
    """Whether an update leaves a PreferDualStack service as it is, whatever became of the cluster since."""
    if old is None:
        return False
    spec, before = service["spec"], old.get("spec") or {}
    return (
        spec.get("type") == before.get("type") != "ExternalName"
        and spec.get("ipFamilyPolicy") == before.get("ipFamilyPolicy") == PREFER_DUAL_STACK
        and _same(spec, before, "clusterIPs")
        and _same(spec, before, "ipFamilies")
    )


def _default_policy(spec: Object) -> str:
    return REQUIRE_DUAL_STACK if _is_loose(spec) else SINGLE_STACK


def _is_loose(spec: Object) -> bool:
    """Headless, and without a selector."""
    return spec.get("clusterIP") == NONE and not spec.get("selector")


def _same(spec: Object, before: Object, field: str) -> bool:
    return (spec.get(field) or []) == (before.get(field) or [])


def _shrink(spec: Object, before: Object, policy: str, problems: Errors) -> None:
    """SingleStack gives the second address and family up; nothing else may."""
    for field, word in (("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")):
        values, old = spec.get(field) or [], before.get(field) or []
        if policy == SINGLE_STACK:
            if values == old and len(values) > 1:
                spec[field] = values[:1]
        elif 0 < len(values) < len(old):
            problems.append(fields.invalid(_POLICY, policy, _RELEASE.format(word)))


def _families_of_addresses(spec: Object, configured: tuple[str, ...], problems: Errors) -> list[str]:
    """The families named, and those of addresses that are named beyond them."""
    families = list(spec.get("ipFamilies") or ())
    addresses = spec.get("clusterIPs") or []
    for position, address in enumerate(addresses):
        if address == NONE:
            break
        if position >= len(families):
            family = "IPv6" if ":" in address else "IPv4"
            if family in configured:
                families.append(family)
            else:
                path = fields.index("spec.clusterIPs", position)
                problems.append(
                    fields.invalid(path, addresses, f"{family} is not configured on this cluster")
                )
    return families


def _check_configured(service: Object, families: list[str], policy: str, configured: tuple[str, ...]) -> None:
    problems: Errors = []
    if policy == REQUIRE_DUAL_STACK and len(configured) < 2:
        why = "this cluster is not configured for dual-stack services"
        problems.append(fields.invalid(_POLICY, policy, why))
    problems += [
        fields.invalid(fields.index("spec.ipFamilies", position), family, "not configured on this cluster")
        for position, family in enumerate(families)
        if family not in configured
    ]
    _refuse(service, problems)


def _both(families: list[str]) -> list[str]:
    return (
        families if len(families) > 1 else [families[0], *(each for each in FAMILIES if each != families[0])]
    )


def _refuse(service: Object, problems: Errors) -> None:
    if problems:
        raise errors.invalid("", "Service", str(service["metadata"].get("name") or ""), problems)
