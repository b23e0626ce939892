"""Who owns which field after creates, updates and applies."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coxswain.api import schema
from coxswain.api.errors import ApiError, BadRequest, Conflict
from coxswain.api.managedfields import apply, manager_of, track_update
from coxswain.api.managedfields.fieldset import difference, intersection, paths, union, without
from coxswain.api.names import GVK
from coxswain.api.schema import Field, Type

POD = schema.type_of(GVK("", "v1", "Pod"))
DEPLOYMENT = schema.type_of(GVK("apps", "v1", "Deployment"))
CONFIG_MAP = schema.type_of(GVK("", "v1", "ConfigMap"))
T1, T2 = "2026-11-21T00:00:01Z", "2026-11-21T00:00:02Z"


def config_map(**data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "namespace": "n"},
        "data": data,
    }


def owners(obj: dict[str, Any]) -> dict[str, list[str]]:
    return {
        entry["manager"]: list(paths(entry["fieldsV1"])) for entry in obj["metadata"].get("managedFields", [])
    }


def update(new, old, manager="m", now=T1, kind=CONFIG_MAP, **options):
    track_update(new, old, manager=manager, api_version="v1", type=kind, now=now, **options)
    return new


def applied(live, obj, manager="m", now=T1, kind=CONFIG_MAP, **options):
    before = copy.deepcopy((live, obj))
    result = apply(live, obj, manager=manager, type=kind, now=now, **options)
    assert (live, obj) == before
    return result


def test_a_create_owns_everything_but_what_the_server_sets():
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "p",
            "namespace": "n",
            "uid": "u",
            "labels": {"a": "b"},
            "creationTimestamp": T1,
        },
        "spec": {
            "containers": [
                {
                    "name": "c",
                    "image": "i",
                    "ports": [{"containerPort": 80}],
                    "command": ["x"],
                    "resources": {},
                }
            ],
            "securityContext": {},
        },
        "status": {"phase": "Pending"},
    }
    update(pod, None, kind=POD)
    assert pod["metadata"]["managedFields"] == [
        {
            "manager": "m",
            "operation": "Update",
            "apiVersion": "v1",
            "time": T1,
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"c"}': {
                            ".": {},
                            "f:command": {},
                            "f:image": {},
                            "f:name": {},
                            "f:ports": {
                                ".": {},
                                'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}},
                            },
                            "f:resources": {},
                        }
                    },
                    "f:securityContext": {},
                },
            },
        }
    ]


def test_go_zero_values_belong_to_nobody():
    event = schema.type_of(GVK("", "v1", "Event"))
    obj = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod"},
        "source": {},
        "firstTimestamp": None,
        "reportingComponent": "",
    }
    update(obj, None, kind=event)
    assert owners(obj) == {"m": [".involvedObject"]}


def test_nothing_to_own_leaves_no_entry():
    obj = update(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}, None, kind=None
    )
    assert "managedFields" not in obj["metadata"]


def test_an_update_takes_what_it_changes_and_drops_what_it_removes():
    old = update(config_map(a="1", b="1", c="1"), None, "first")
    new = config_map(a="1", b="2", d="1")
    update(new, old, "second", T2)
    assert owners(new) == {"first": [".data", ".data.a"], "second": [".data.b", ".data.d"]}
    assert [entry["time"] for entry in new["metadata"]["managedFields"]] == [T1, T2]


def test_the_same_manager_keeps_one_entry_whose_time_moves_only_with_changes():
    old = update(config_map(a="1"), None)
    same = update(config_map(a="1"), old, now=T2)
    assert same["metadata"]["managedFields"] == old["metadata"]["managedFields"]
    changed = update(config_map(a="2"), old, now=T2)
    assert [entry["time"] for entry in changed["metadata"]["managedFields"]] == [T2]


def test_an_object_that_nobody_manages_stays_so_and_reset_is_possible():
    new = config_map(a="2")
    assert "managedFields" not in update(new, config_map(a="1"))["metadata"]
    old = update(config_map(a="1"), None)
    reset = config_map(a="1")
    reset["metadata"]["managedFields"] = [{}]
    assert "managedFields" not in update(reset, old)["metadata"]


def test_status_belongs_to_those_who_write_status():
    old = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 1}}
    update(old, None, kind=DEPLOYMENT)
    new = copy.deepcopy(old)
    new["status"] = {"replicas": 1}
    update(new, old, "controller", T2, kind=DEPLOYMENT, subresource="status")
    entries = new["metadata"]["managedFields"]
    assert [entry.get("subresource") for entry in entries] == [None, "status"]
    assert owners(new) == {"m": [".spec.replicas"], "controller": [".status.replicas"]}
    assert owners(update(copy.deepcopy(new), old, kind=DEPLOYMENT)) == owners(new)


def test_old_updaters_are_merged_beyond_ten():
    obj = update(config_map(k="0"), None, "m0", "2026-11-21T00:00:00Z")
    for number in range(1, 14):
        new = {**obj, "metadata": {**obj["metadata"]}, "data": {**obj["data"], f"k{number}": "x"}}
        update(new, obj, f"m{number}", f"2026-11-21T00:00:{number:02}Z")
        obj = new
    entries = obj["metadata"]["managedFields"]
    assert len(entries) == 10
    assert entries[0]["manager"] == "ancient-changes"
    assert len(owners(obj)["ancient-changes"]) == 6
    assert sum(len(owned) for owned in owners(obj).values()) == 15


def test_without_a_schema_types_are_deduced():
    obj = {"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x"}, "spec": {"a": [1], "b": {"c": 1}}}
    update(obj, None, kind=None)
    assert obj["metadata"]["managedFields"][0]["fieldsV1"] == {
        "f:spec": {".": {}, "f:a": {}, "f:b": {".": {}, "f:c": {}}}
    }


def test_manager_names():
    assert manager_of("given", "kubectl/v1.32") == "given"
    assert manager_of("", "kubectl/v1.32 (linux)") == "kubectl"
    assert manager_of("", "") == "unknown"
    assert manager_of("", "a" * 200) == "a" * 128


def test_apply_owns_what_it_names_and_removes_what_it_named_before():
    first = applied(None, config_map(a="1", b="1"))
    assert owners(first) == {"m": [".data.a", ".data.b"]}
    other = update(copy.deepcopy(first) | {"data": {"a": "1", "b": "1", "c": "1"}}, first, "u", T2)
    second = applied(other, config_map(a="1"), now=T2)
    assert second["data"] == {"a": "1", "c": "1"}
    assert owners(second) == {"m": [".data.a"], "u": [".data.c"]}
    assert second["metadata"]["managedFields"][0]["operation"] == "Apply"


def test_applying_the_same_again_changes_nothing():
    first = applied(None, config_map(a="1"))
    assert applied(first, config_map(a="1"), now=T2) == first


def test_shared_fields_stay_until_the_last_owner_lets_go():
    both = applied(applied(None, config_map(a="1")), config_map(a="1"), "other")
    assert owners(both) == {"m": [".data.a"], "other": [".data.a"]}
    one = applied(both, config_map(), "other")
    assert one["data"] == {"a": "1"}
    none = applied(one, config_map())
    assert "data" not in none or not none["data"]


def test_conflicts_name_managers_and_fields():
    live = update(config_map(a="1", b="1"), None, "kubectl-client-side-apply")
    with pytest.raises(Conflict) as error:
        applied(live, config_map(a="2"))
    assert (
        error.value.message
        == 'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using v1: .data.a'
    )
    assert error.value.status()["details"] == {
        "causes": [
            {
                "reason": "FieldManagerConflict",
                "message": 'conflict with "kubectl-client-side-apply" using v1',
                "field": ".data.a",
            }
        ]
    }
    with pytest.raises(Conflict) as error:
        applied(live, config_map(a="2", b="2"))
    assert error.value.message == (
        "Apply failed with 2 conflicts: "
        'conflicts with "kubectl-client-side-apply" using v1:\n- .data.a\n- .data.b'
    )


def test_what_an_unmanaged_object_holds_is_not_taken_silently():
    with pytest.raises(Conflict, match='"before-first-apply" using v1'):
        applied(config_map(a="1"), config_map(a="2"))
    joined = applied(config_map(a="1"), config_map(b="2"))
    assert owners(joined) == {"m": [".data.b"], "before-first-apply": [".data", ".data.a"]}


def test_force_takes_the_fields():
    live = applied(None, config_map(a="1", b="1"), "first")
    taken = applied(live, config_map(a="2"), "second", force=True)
    assert taken["data"] == {"a": "2", "b": "1"}
    assert owners(taken) == {"first": [".data.b"], "second": [".data.a"]}


def deployment(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"template": {"spec": {"containers": list(containers)}}, **spec},
    }


def test_keyed_lists_merge_by_key_and_keep_their_order():
    live = applied(None, deployment({"name": "a"}, {"name": "b"}), "first", kind=DEPLOYMENT)
    config = deployment({"name": "x", "image": "i"}, {"name": "b", "image": "j"})
    merged = applied(live, config, "second", kind=DEPLOYMENT)
    names = [item["name"] for item in merged["spec"]["template"]["spec"]["containers"]]
    assert sorted(names) == ["a", "b", "x"]
    assert names.index("x") < names.index("b")
    gone = applied(merged, deployment({"name": "b"}), "second", kind=DEPLOYMENT)
    assert gone["spec"]["template"]["spec"]["containers"] == [{"name": "a"}, {"name": "b"}]


def test_a_struct_goes_with_its_last_applied_field_even_where_defaults_were_added():
    live = applied(None, deployment({"name": "a"}, strategy={"type": "Recreate"}), kind=DEPLOYMENT)
    live["spec"]["template"]["spec"]["securityContext"] = {"runAsUser": 1}
    next_one = applied(live, deployment({"name": "a"}), kind=DEPLOYMENT)
    assert not next_one["spec"].get("strategy")
    assert next_one["spec"]["template"]["spec"]["securityContext"] == {"runAsUser": 1}


def test_configurations_that_cannot_be_applied():
    bad = config_map()
    bad["metadata"]["managedFields"] = [{"manager": "x"}]
    with pytest.raises(BadRequest, match=r"metadata\.managedFields must be nil"):
        applied(None, bad)
    with pytest.raises(BadRequest) as error:
        applied(None, deployment({"image": "i"}), kind=DEPLOYMENT)
    assert error.value.message == (
        "failed to create typed patch object (/d; apps/v1, Kind=Deployment): .spec.template.spec.containers: element 0: "
        'associative list with keys has an element that omits all key fields ["name"] '
        "(and doesn't have default values for any key fields)"
    )


def test_kubectl_takes_over_what_client_side_apply_left_unchanged():
    annotation = "kubectl.kubernetes.io/last-applied-configuration"
    live = config_map(a="1")
    live["metadata"]["annotations"] = {annotation: '{"kind":"ConfigMap","data":{"a":"1"}}'}
    update(live, None, "kubectl-client-side-apply")
    with pytest.raises(Conflict):
        applied(live, config_map(a="2"), "somebody")
    taken = applied(live, config_map(a="2"), "kubectl")
    assert taken["data"] == {"a": "2"}
    assert '"a":"2"' in taken["metadata"]["annotations"][annotation]


def test_custom_types_made_at_run_time():
    item = Type("item", {"k": Field("k", "string"), "v": Field("v", "integer")})
    spec = Type(
        "spec",
        {
            "size": Field("size", "integer"),
            "items": Field(
                "items", "array", element=Field("", "ref", _ref=item), list_type="map", list_keys=("k",)
            ),
            "tags": Field("tags", "array", element=Field("", "string"), list_type="set"),
        },
    )
    fields = [Field("metadata", "ref", ref_name="io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")]
    fields += [Field("spec", "ref", _ref=spec), Field("status", "any")]
    widget = Type("widget", {field.name: field for field in fields})
    obj = {
        "metadata": {"name": "w"},
        "spec": {"size": 1, "items": [{"k": "a", "v": 1}], "tags": ["x"]},
        "status": {},
    }
    first = applied(None, obj, kind=widget)
    assert owners(first) == {
        "m": [
            '.spec.items[k="a"]',
            '.spec.items[k="a"].k',
            '.spec.items[k="a"].v',
            ".spec.size",
            '.spec.tags[="x"]',
        ]
    }
    both = applied(
        first, {"metadata": {"name": "w"}, "spec": {"items": [{"k": "b"}], "tags": ["y"]}}, "b", kind=widget
    )
    assert both["spec"] == {"size": 1, "items": [{"k": "a", "v": 1}, {"k": "b"}], "tags": ["x", "y"]}


def test_writes_through_scale_bear_no_time():
    live = applied(None, deployment({"name": "a"}, replicas=1), "m1", kind=DEPLOYMENT)
    scaled = applied(
        live,
        {"apiVersion": "apps/v1", "spec": {"replicas": 4}},
        "m2",
        kind=DEPLOYMENT,
        subresource="scale",
        force=True,
    )
    assert scaled["spec"]["replicas"] == 4
    first = scaled["metadata"]["managedFields"][0]
    assert (first["manager"], first["subresource"], "time" in first) == ("m2", "scale", False)
    assert first["fieldsV1"] == {"f:spec": {"f:replicas": {}}}


def test_free_form_parts_of_custom_types_are_tracked_inside_where_they_say_so():
    widget = Type("widget", {"free": Field("free", "any", map_type="granular"), "blob": Field("blob", "any")})
    obj = update({"metadata": {"name": "w"}, "free": {"a": {"b": 1}}, "blob": {"c": 1}}, None, kind=widget)
    assert owners(obj) == {"m": [".blob", ".free", ".free.a", ".free.a.b"]}


@pytest.mark.parametrize(
    "fields",
    [1, {"f:a": 1}, {"x": {}}, {"k:[1]": {}}, {"k:{": {}}, {"v:": {}}, {"i:x": {}}, {"f:a": {"f:b": None}}],
)
def test_malformed_sets_of_clients_fall_back_to_the_stored_owners(fields):
    old = update(config_map(a="1"), None)
    new = config_map(a="1")
    new["metadata"]["managedFields"] = [{"manager": "evil", "operation": "Update", "fieldsV1": fields}]
    assert owners(update(new, old)) == owners(old)


def test_what_does_not_fit_its_schema_keeps_its_owners_or_is_refused():
    old = update(config_map(a="1"), None)
    for data in (["a"], "text", 5, [{}]):
        new = {**config_map(), "data": data}
        assert owners(update(new, old)) == owners(old)
        with pytest.raises(ApiError, match="expected map, got"):
            applied(old, {**config_map(), "data": data})
    with pytest.raises(ApiError, match="expected list, got"):
        applied(
            None, {**deployment(), "metadata": {"name": "d", "ownerReferences": {"a": 1}}}, kind=DEPLOYMENT
        )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["a", "Recreate"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["spec", "name", "template", "containers", "metadata", "labels", "strategy"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(JSON, JSON)
def test_no_configuration_breaks_apply(first, second):
    live = None
    for number, spec in enumerate((first, second)):
        config = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}
        try:
            live = applied(live, config, f"m{number}", kind=DEPLOYMENT)
        except ApiError:
            pass


NODES = st.recursive(
    st.just({}),
    lambda below: st.dictionaries(
        st.sampled_from(["f:a", "f:b", 'v:"c"', "."]), below, min_size=1, max_size=4
    ),
    max_leaves=10,
).map(lambda node: {name: tidy(below) for name, below in node.items() if name != "."})


def tidy(node):
    if not node or set(node) == {"."}:
        return {}
    return {name: {} if name == "." else tidy(below) for name, below in node.items()}


@given(NODES, NODES)
def test_the_algebra_of_field_sets(left, right):
    a, b = set(paths(left)), set(paths(right))
    assert set(paths(union(left, right))) == a | b
    assert set(paths(difference(left, right))) == a - b
    assert set(paths(intersection(left, right))) == a & b
    assert set(paths(without(left, right))) == {p for p in a if not any(covers(q, p) for q in b)}


def covers(prefix, path):
    rest = path[len(prefix) :]
    return path.startswith(prefix) and (not rest or rest[0] in ".[")


@given(
    st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"), max_size=3),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"), max_size=3),
)
def test_tracking_twice_equals_tracking_once(before, after):
    old = update(config_map(**before), None, "one")
    once = update(config_map(**after), old, "two", T2)
    again = update(copy.deepcopy(once), once, "three", T2)
    assert again == once


def test_metadata_outlives_the_last_applied_annotation():
    """Its name belongs to nobody, so the last applied set holds nothing of metadata but what is to go."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "namespace": "n", "annotations": {"a": "b"}},
        "spec": {"ports": [{"port": 80}]},
    }
    kind = schema.type_of(GVK("", "v1", "Service"))
    live = applied(None, service, kind=kind)
    live["metadata"] |= {"uid": "u", "resourceVersion": "7", "creationTimestamp": T1}
    bare = service | {"metadata": {"name": "s", "namespace": "n"}}
    left = applied(live, bare, kind=kind)["metadata"]
    left.pop("managedFields")
    assert left == {
        "name": "s",
        "namespace": "n",
        "uid": "u",
        "resourceVersion": "7",
        "creationTimestamp": T1,
    }
