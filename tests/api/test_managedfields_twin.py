"""Server-side apply against a naive twin: objects as sets of leaves, ownership as sets of names of leaves."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from coxswain.api.errors import Conflict
from coxswain.api.managedfields import apply, track_update
from coxswain.api.managedfields.fieldset import paths
from coxswain.api.names import Object
from coxswain.api.schema import Field, Type

ITEM = Type("item", {"k": Field("k", "string"), "v": Field("v", "integer"), "w": Field("w", "integer")})
INNER = Type("inner", {"x": Field("x", "integer"), "y": Field("y", "integer")})
SPEC = Type(
    "spec",
    {
        "a": Field("a", "integer"),
        "m": Field("m", "map", element=Field("", "integer")),
        "l": Field("l", "array", element=Field("", "ref", _ref=ITEM), list_type="map", list_keys=("k",)),
        "s": Field("s", "array", element=Field("", "string"), list_type="set"),
        "t": Field("t", "array", element=Field("", "integer"), list_type="atomic"),
        "i": Field("i", "ref", _ref=INNER),
    },
)
METADATA = Field("metadata", "ref", ref_name="io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
KIND = Type(
    "kind",
    {
        "kind": Field("kind", "string"),
        "apiVersion": Field("apiVersion", "string"),
        "metadata": METADATA,
        "spec": Field("spec", "ref", _ref=SPEC),
    },
)
Leaves = dict[str, Any]


def leaves(spec: Object) -> Leaves:
    """Every leaf of a spec by its path; an element of a list is a leaf itself, and so is its key."""
    out: Leaves = {}
    if "a" in spec:
        out[".spec.a"] = spec["a"]
    if "t" in spec:
        out[".spec.t"] = spec["t"]
    for name, value in (spec.get("i") or {}).items():
        out[f".spec.i.{name}"] = value
    for name, value in (spec.get("m") or {}).items():
        out[f".spec.m.{name}"] = value
    for value in spec.get("s") or ():
        out[f'.spec.s[="{value}"]'] = None
    for item in spec.get("l") or ():
        at = f'.spec.l[k="{item["k"]}"]'
        out[at] = None
        out.update({f"{at}.{name}": value for name, value in item.items()})
    return out


class Twin:
    """What apply means, said as simply as it can be."""

    def __init__(self) -> None:
        self.live: Leaves = {}
        self.owned: dict[str, set[str]] = {}

    def apply(self, manager: str, spec: Object, force: bool) -> bool:
        """Whether there was no conflict (or it was forced)."""
        wanted = leaves(spec)
        merged = {**self.live, **wanted}
        others = {name: held for name, held in self.owned.items() if name != manager}
        kept = set(wanted).union(*others.values())
        for path in self.owned.get(manager, set()) - kept:
            for gone in [one for one in merged if one == path or one.startswith(f"{path}.")]:
                del merged[gone]
        changed = {
            path for path, value in merged.items() if path not in self.live or self.live[path] != value
        }
        if not force and any(held & changed for held in others.values()):
            return False
        removed = set(self.live) - set(merged)
        self.owned = {name: held - changed - removed for name, held in others.items()}
        self.owned[manager] = set(wanted)
        self.owned = {name: held for name, held in self.owned.items() if held}
        self.live = merged
        return True

    def update(self, manager: str, spec: Object) -> None:
        """A write of everything: who changes a leaf has it."""
        after = leaves(spec)
        changed = {path for path, value in after.items() if path not in self.live or self.live[path] != value}
        removed = set(self.live) - set(after)
        mine = self.owned.get(manager, set())
        self.owned = {name: held - changed - removed for name, held in self.owned.items()}
        self.owned[manager] = (mine - removed) | changed
        self.owned = {name: held for name, held in self.owned.items() if held}
        self.live = after


NAMES = st.sampled_from("pqr")
NUMBERS = st.integers(1, 2)
ITEMS = st.dictionaries(NAMES, st.fixed_dictionaries({}, optional={"v": NUMBERS, "w": NUMBERS}), min_size=1)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "a": NUMBERS,
        "m": st.dictionaries(NAMES, NUMBERS, min_size=1),
        "s": st.lists(NAMES, min_size=1, unique=True),
        "t": st.lists(NUMBERS, min_size=1, max_size=2),
        "i": st.fixed_dictionaries({"x": NUMBERS}, optional={"y": NUMBERS}),
        "l": ITEMS.map(lambda found: [{"k": name, **rest} for name, rest in found.items()]),
    },
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["one", "two", "three"]), st.booleans(), SPECS), min_size=1, max_size=6
)


def obj(spec: Object) -> Object:
    return {"kind": "Kind", "apiVersion": "v1", "metadata": {"name": "n"}, **({"spec": spec} if spec else {})}


def owners(found: Object, operation: str) -> dict[str, set[str]]:
    return {
        entry["manager"]: set(paths(entry["fieldsV1"]))
        for entry in found["metadata"].get("managedFields", ())
        if entry["operation"] == operation
    }


@settings(max_examples=300)
@given(STEPS)
def test_any_history_of_applies_is_the_twin_s(steps: list[tuple[str, bool, Object]]) -> None:
    twin, live = Twin(), None
    for manager, force, spec in steps:
        expected = twin.apply(manager, spec, force)
        try:
            live = apply(
                live,
                obj(spec),
                manager=manager,
                api_version="v1",
                force=force,
                type=KIND,
                now="2026-11-21T00:00:00Z",
            )
        except Conflict:
            assert not expected
            continue
        assert expected
        assert leaves(live.get("spec") or {}) == twin.live
        assert owners(live, "Apply") == twin.owned


@settings(max_examples=200)
@given(SPECS, STEPS)
def test_any_history_of_updates_is_the_twin_s(first: Object, steps: list[tuple[str, bool, Object]]) -> None:
    twin = Twin()
    first = {"a": 1, **first}
    twin.update("zero", first)
    live = obj(first)
    track_update(live, None, manager="zero", api_version="v1", type=KIND, now="2026-11-21T00:00:00Z")
    for manager, _, spec in steps:
        if not twin.owned:
            return  # what nobody manages stays so
        twin.update(manager, spec)
        new = obj(spec)
        track_update(new, live, manager=manager, api_version="v1", type=KIND, now="2026-11-21T00:00:00Z")
        live = new
        found = {
            name: {path for path in held if path in twin.live}
            for name, held in owners(live, "Update").items()
        }
        assert {name: held for name, held in found.items() if held} == twin.owned
