"""What a new cluster begins with."""

from __future__ import annotations

from apiserver.dict_lookup import DictLookup
from coxswain.api.names import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from coxswain.apiserver import bootstrap
from coxswain.apiserver.authz import Attributes, Authorizer
from coxswain.apiserver.bootstrap import BootstrapConfig, items, reconcile
from coxswain.apiserver.bootstrap_data import compact
from coxswain.client.interface import UserInfo


def cluster() -> Authorizer:
    lookup = DictLookup()
    for item in items(BootstrapConfig()):
        if item.resource in (ROLES, CLUSTER_ROLES, ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS):
            parts = {k: v for k, v in item.object.items() if k != "metadata"}
            lookup.put(item.resource, item.name, item.namespace, metadata=item.object["metadata"], **parts)
    return Authorizer(lookup)


def test_namespaces_come_first_and_nothing_twice() -> None:
    found = list(items(BootstrapConfig(advertise_address="192.0.2.1", client_ca=b"PEM")))
    assert [item.name for item in found[:4]] == ["kube-system", "kube-public", "kube-node-lease", "default"]
    keys = [(item.resource, item.namespace, item.name) for item in found]
    assert len(set(keys)) == len(keys)
    by_name = {(item.resource.resource, item.name): item.object for item in found}
    assert by_name["services", "kubernetes"]["spec"]["clusterIP"] == "10.96.0.1"
    assert by_name["endpoints", "kubernetes"]["subsets"][0]["addresses"] == [{"ip": "192.0.2.1"}]
    assert by_name["configmaps", "extension-apiserver-authentication"]["data"]["client-ca-file"] == "PEM"


def test_loopback_is_not_published() -> None:
    assert "endpoints" not in {item.resource.resource for item in items(BootstrapConfig())}


def test_who_may_do_what_on_a_new_cluster() -> None:
    authorizer = cluster()

    def may(user: UserInfo, verb: str, resource: str = "", *, path: str = "", group: str = "") -> bool:
        asked = Attributes(user, verb, group, "v1", resource, namespace="ns" if resource else "", path=path)
        if path:
            asked = Attributes(user, verb, path=path, is_resource=False)
        return authorizer.authorize(asked).allowed

    nobody = UserInfo("system:anonymous", ("system:unauthenticated",))
    assert may(nobody, "get", path="/livez")
    assert may(nobody, "get", path="/version")
    assert not may(nobody, "get", path="/api")
    assert not may(nobody, "get", "pods")
    somebody = UserInfo("x", ("system:authenticated",))
    assert may(somebody, "get", path="/apis/apps/v1")
    assert not may(somebody, "list", "pods")
    assert may(UserInfo("system:kube-scheduler"), "list", "pods")
    assert may(UserInfo("system:kube-controller-manager"), "list", "pods")
    assert not may(UserInfo("system:kube-scheduler"), "list", "secrets")


def test_aggregated_roles_hold_what_they_aggregate() -> None:
    rules = {i.name: i.object["rules"] for i in bootstrap.rbac() if i.resource == CLUSTER_ROLES}
    assert len(rules["view"]) < len(rules["edit"]) < len(rules["admin"])
    assert all(rule in rules["admin"] for rule in rules["view"])


def test_reconcile_adds_what_was_lost() -> None:
    wanted = next(i.object for i in bootstrap.rbac() if i.name == "system:discovery")
    assert reconcile(wanted, wanted) is None
    mine = {"verbs": ["get"], "nonResourceURLs": ["/mine"]}
    changed = reconcile({**wanted, "rules": [mine]}, wanted)
    assert changed is not None
    assert changed["rules"] == [mine, *wanted["rules"]]
    meta = {**wanted["metadata"], "annotations": {bootstrap.AUTOUPDATE: "false"}}
    assert reconcile({**wanted, "rules": [], "metadata": meta}, wanted) is None
    assert reconcile({**wanted, "roleRef": {"name": "x"}, "rules": []}, wanted) is None


def test_compact_form_loses_nothing() -> None:
    def plain(name: str) -> list[dict[str, object]]:
        wanted = {"roles": ROLES, "rolebindings": ROLE_BINDINGS}[name]
        found = [item for item in bootstrap.rbac() if item.resource == wanted]
        return [item.object for item in found if not item.name.startswith("coxswain:")]

    facts = {"roles": plain("roles"), "rolebindings": plain("rolebindings")}
    for absent in ("clusterroles", "clusterrolebindings", "priorityclasses", "flowschemas", "prioritylevels"):
        facts[absent] = []
    table = compact(facts)
    assert table["roles"] == bootstrap._table()["roles"]
    assert table["rolebindings"] == bootstrap._table()["rolebindings"]
