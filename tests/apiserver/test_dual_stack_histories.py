"""Random histories of services on clusters of one and of two families: whatever is asked for, the books are right."""

from __future__ import annotations

import copy
import ipaddress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apiserver.dict_lookup import DictLookup
from coxswain.api import errors, strategy, validation
from coxswain.api.names import GVK, SERVICES, Object
from coxswain.apiserver.allocators import ServiceAllocator

SERVICE = GVK("", "v1", "Service")
NAMES = ("a", "b", "c")
ADDRESSES = ("10.96.0.5", "10.96.0.6", "fd00::5", "fd00::6", "None", "10.99.0.1")

specs = st.fixed_dictionaries(
    {"type": st.sampled_from(["ClusterIP", "NodePort", "ExternalName"]), "port": st.sampled_from([80, 81])},
    optional={
        "ipFamilyPolicy": st.sampled_from(["SingleStack", "PreferDualStack", "RequireDualStack"]),
        "ipFamilies": st.lists(st.sampled_from(["IPv4", "IPv6"]), min_size=1, max_size=2, unique=True),
        "clusterIPs": st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=2, unique=True),
        "selector": st.just({"a": "b"}),
    },
)
steps = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(["put", "edit", "drop"]), specs), max_size=12
)


def made(name: str, spec: dict[str, Any]) -> Object:
    kind, rest = spec["type"], {key: value for key, value in spec.items() if key not in ("type", "port")}
    found: Object = {"type": kind, "ports": [{"port": spec["port"], "protocol": "TCP"}], **rest}
    if kind == "ExternalName":
        found["externalName"] = "x.y"
    if "clusterIPs" in found:
        found["clusterIP"] = found["clusterIPs"][0]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "n"},
        "spec": found,
    }


class World:
    def __init__(self, ranges: str) -> None:
        self.lookup = DictLookup()
        self.allocator = ServiceAllocator(self.lookup, ranges, (30000, 30010))

    def write(self, name: str, new: Object) -> None:
        """As the pipeline does: strategy, allocation, validation, store."""
        old = self.lookup.get(SERVICES, "n", name)
        if old is None:
            strategy.prepare_for_create(new, SERVICE)
        else:
            strategy.prepare_for_update(new, copy.deepcopy(old), SERVICE)
        try:
            reservation = self.allocator.assign(new, old)
        except errors.ApiError:
            return
        check = validation.validate_create(new, SERVICE) if old is None else None
        problems = check if check is not None else validation.validate_update(new, old or {}, SERVICE)
        if any(problem.field.startswith(("spec.clusterIP", "spec.ipFam")) for problem in problems):
            reservation.rollback()
            return
        self.lookup.put(SERVICES, name, "n", **{key: new[key] for key in ("spec",)})
        reservation.commit()

    def drop(self, name: str) -> None:
        old = self.lookup.get(SERVICES, "n", name)
        if old is not None:
            self.lookup.drop(SERVICES, name, "n")
            self.allocator.release(old)

    def check(self, families: tuple[str, ...]) -> None:
        seen: set[str] = set()
        for service in self.lookup.list(SERVICES):
            spec = service["spec"]
            addresses = spec.get("clusterIPs") or []
            if spec["type"] == "ExternalName":
                continue
            assert 1 <= len(spec["ipFamilies"]) <= 2 and spec["ipFamilyPolicy"]
            if addresses == ["None"]:
                continue
            assert [f"IPv{ipaddress.ip_address(each).version}" for each in addresses] == spec["ipFamilies"]
            assert set(spec["ipFamilies"]) <= set(families)
            assert spec["clusterIP"] == addresses[0]
            assert (len(addresses) == 2) <= (spec["ipFamilyPolicy"] != "SingleStack")
            assert (spec["ipFamilyPolicy"] != "RequireDualStack") or len(addresses) == 2
            assert not seen & set(addresses)
            seen |= set(addresses)
        assert self.allocator.repair() == (0, 0)


@pytest.mark.parametrize(
    ("ranges", "families"),
    [
        ("10.96.0.0/28", ("IPv4",)),
        ("10.96.0.0/28,fd00::/124", ("IPv4", "IPv6")),
        ("fd00::/124,10.96.0.0/28", ("IPv6", "IPv4")),
    ],
)
@settings(max_examples=60)
@given(history=steps)
def test_addresses_are_held_by_those_who_have_them(
    ranges: str, families: tuple[str, ...], history: list[tuple[str, str, dict[str, Any]]]
) -> None:
    world = World(ranges)
    for name, what, spec in history:
        old = world.lookup.get(SERVICES, "n", name)
        if what == "drop":
            world.drop(name)
        elif what == "edit" and old is not None:
            # A client that read the whole and changes a part of it.
            changed = copy.deepcopy(old)
            changed["metadata"] = {"name": name, "namespace": "n"}
            changed["spec"].update(made(name, spec)["spec"])
            world.write(name, changed)
        else:
            world.write(name, made(name, spec))
        world.check(families)
