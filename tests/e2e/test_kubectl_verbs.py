"""Every verb of kubectl that needs no running process, against a cluster with hollow nodes."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest
import yaml

from e2e.machine import RunningCluster

pytestmark = pytest.mark.e2e

#: ``kubectl create`` and what it says, for every generator; the namespace is a fresh one.
GENERATORS = {
    "configmap/settings created": ["configmap", "settings", "--from-literal=a=b"],
    "secret/password created": ["secret", "generic", "password", "--from-literal=p=q"],
    "secret/registry created": [
        *("secret", "docker-registry", "registry", "--docker-username=u", "--docker-password=p"),
    ],
    "deployment.apps/web created": ["deployment", "web", "--image=none", "--replicas=2", "--port=80"],
    "job.batch/once created": ["job", "once", "--image=none"],
    "cronjob.batch/nightly created": ["cronjob", "nightly", "--image=none", "--schedule=0 3 * * *"],
    "service/inside created": ["service", "clusterip", "inside", "--tcp=80:8080"],
    "service/outside created": ["service", "nodeport", "outside", "--tcp=80"],
    "service/balanced created": ["service", "loadbalancer", "balanced", "--tcp=80"],
    "service/elsewhere created": ["service", "externalname", "elsewhere", "--external-name=example.com"],
    "ingress.networking.k8s.io/door created": ["ingress", "door", "--rule=example.com/*=inside:80"],
    "role.rbac.authorization.k8s.io/reader created": ["role", "reader", "--verb=get,list", "--resource=pods"],
    "rolebinding.rbac.authorization.k8s.io/reads created": [
        "rolebinding",
        "reads",
        "--role=reader",
        "--user=jane",
    ],
    "serviceaccount/robot created": ["serviceaccount", "robot"],
    "resourcequota/limits created": ["quota", "limits", "--hard=pods=20,services=10"],
    "poddisruptionbudget.policy/budget created": [
        *("poddisruptionbudget", "budget", "--selector=app=web", "--min-available=1"),
    ],
}
CLUSTER_WIDE = {
    "clusterrole.rbac.authorization.k8s.io/lister created": [
        *("clusterrole", "lister", "--verb=list", "--resource=nodes"),
    ],
    "clusterrolebinding.rbac.authorization.k8s.io/lists created": [
        *("clusterrolebinding", "lists", "--clusterrole=lister", "--group=staff"),
    ],
    "priorityclass.scheduling.k8s.io/urgent created": ["priorityclass", "urgent", "--value=1000"],
}


def test_every_generator_of_create(desk: RunningCluster) -> None:
    for said, arguments in {**GENERATORS, **CLUSTER_WIDE}.items():
        dry = desk.kubectl("create", *arguments, "--dry-run=server")
        assert dry == said + " (server dry run)\n"
        assert desk.kubectl("create", *arguments) == said + "\n"
        assert "already exists" in desk.kubectl("create", *arguments, code=1)
    token = desk.kubectl("create", "token", "robot", "--duration=20m", "--audience=somewhere").strip()
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["aud"] == ["somewhere"] and claims["exp"] - claims["iat"] == 1200
    assert desk.kubectl("auth", "can-i", "list", "pods", "--as=jane") == "yes\n"
    for resource in ("clusterrole/lister", "clusterrolebinding/lists", "priorityclass/urgent"):
        assert "deleted" in desk.kubectl("delete", resource)


def test_discovery_and_explanations(desk: RunningCluster) -> None:
    assert "apps/v1\n" in desk.kubectl("api-versions")
    shown = desk.kubectl("api-resources", "--verbs=list", "--namespaced", "-o", "wide")
    assert "deployments" in shown and "deploy" in shown and "create,delete,deletecollection" in shown
    assert "nodes" not in desk.kubectl("api-resources", "--namespaced=true", "-o", "name").split()
    explained = desk.kubectl("explain", "deployment.spec.strategy.rollingUpdate")
    assert "KIND:       Deployment" in explained and "maxSurge\t<IntOrString>" in explained
    assert "containers" in desk.kubectl("explain", "pods", "--recursive")
    assert 'field "nothing" does not exist' in desk.kubectl("explain", "pods.nothing", code=1)
    assert "Server Version: v1.36" in desk.kubectl("version")
    assert "is running at" in desk.kubectl("cluster-info")


def manifest(tmp_path: Path, *objects: object) -> str:
    path = tmp_path / "objects.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    return str(path)


def deployment(**spec: object) -> dict[str, object]:
    labels = {"app": "web"}
    container = {"name": "c", "image": "none", "ports": [{"containerPort": 80}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            **spec,
        },
    }


def test_client_side_apply_diff_and_prune(desk: RunningCluster, tmp_path: Path) -> None:
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "s", "labels": {"part": "x"}}}
    both = manifest(tmp_path, deployment(), {**settings, "data": {"a": "1", "b": "2"}})
    assert "created" in desk.kubectl("apply", "-f", both)
    assert desk.kubectl("diff", "-f", both) == ""
    changed = manifest(tmp_path, deployment(replicas=3), {**settings, "data": {"a": "9"}})
    difference = desk.kubectl("diff", "-f", changed, code=1)
    assert "+  replicas: 3" in difference and '-  b: "2"' in difference
    assert desk.kubectl("apply", "-f", changed) == "deployment.apps/web configured\nconfigmap/s configured\n"
    assert desk.json("get", "configmap", "s")["data"] == {"a": "9"}
    assert "serverside-applied" in desk.kubectl("apply", "--server-side", "-f", changed)
    # The first apply may take back what the server wrote down of the server-side one.
    desk.kubectl("apply", "-f", changed)
    assert desk.kubectl("apply", "-f", changed) == "deployment.apps/web unchanged\nconfigmap/s unchanged\n"
    only = manifest(tmp_path, deployment(replicas=3))
    pruned = desk.kubectl(
        "apply", "-f", only, "--prune", "-l", "part=x", "--prune-allowlist=core/v1/ConfigMap", code=1
    )
    assert "no objects passed to apply" in pruned
    labelled = manifest(tmp_path, {**settings, "metadata": {"name": "t", "labels": {"part": "x"}}})
    pruned = desk.kubectl(
        "apply", "-f", labelled, "--prune", "-l", "part=x", "--prune-allowlist=core/v1/ConfigMap"
    )
    assert "configmap/t created" in pruned and "configmap/s pruned" in pruned


def test_server_side_apply_with_conflicts(desk: RunningCluster, tmp_path: Path) -> None:
    first = manifest(tmp_path, deployment(replicas=2))
    assert "serverside-applied" in desk.kubectl("apply", "--server-side", "-f", first, "--field-manager=one")
    second = manifest(tmp_path, deployment(replicas=3))
    conflict = desk.kubectl("apply", "--server-side", "-f", second, "--field-manager=two", code=1)
    assert 'conflict with "one": .spec.replicas' in conflict
    forced = ["apply", "--server-side", "-f", second, "--field-manager=two", "--force-conflicts"]
    assert "serverside-applied" in desk.kubectl(*forced)
    live = desk.json("get", "deploy", "web", "--show-managed-fields")
    owners = {
        entry["manager"]: entry["fieldsV1"]["f:spec"]
        for entry in live["metadata"]["managedFields"]
        if "f:spec" in entry["fieldsV1"]
    }
    assert "f:replicas" in owners["two"] and "f:replicas" not in owners["one"]
    assert "--server-side" not in desk.kubectl(
        "apply", "--server-side", "--dry-run=server", "-f", second, "--field-manager=two"
    )


def test_kustomizations(desk: RunningCluster, tmp_path: Path) -> None:
    (tmp_path / "deployment.yaml").write_text(yaml.safe_dump(deployment()))
    (tmp_path / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "resources": ["deployment.yaml"],
                "namePrefix": "blue-",
                "labels": [{"pairs": {"team": "blue"}}],
                "configMapGenerator": [{"name": "made", "literals": ["a=b"]}],
            }
        )
    )
    said = desk.kubectl("apply", "-k", str(tmp_path))
    assert "deployment.apps/blue-web created" in said and "configmap/blue-made-" in said
    assert desk.json("get", "deploy", "blue-web")["metadata"]["labels"] == {"team": "blue"}
    assert "deleted" in desk.kubectl("delete", "-k", str(tmp_path))


def test_edit_replace_patch_label_and_annotate(
    desk: RunningCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.kubectl("create", "configmap", "s", "--from-literal=a=before")
    monkeypatch.setenv("KUBE_EDITOR", "sed -i s/before/after/")
    assert "configmap/s edited" in desk.kubectl("edit", "configmap", "s")
    assert desk.json("get", "configmap", "s")["data"] == {"a": "after"}
    monkeypatch.setenv("KUBE_EDITOR", "true")
    assert "no changes made" in desk.kubectl("edit", "configmap", "s")

    live = desk.json("get", "configmap", "s")
    live["data"] = {"b": "new"}
    replaced = desk.kubectl("replace", "-f", "-", stdin=json.dumps(live))
    assert "configmap/s replaced" in replaced
    assert "the object has been modified" in desk.kubectl(
        "replace", "-f", "-", stdin=json.dumps(live), code=1
    )
    before = desk.json("get", "configmap", "s")["metadata"]["uid"]
    del live["metadata"]["resourceVersion"], live["metadata"]["uid"]
    assert "replaced" in desk.kubectl("replace", "--force", "-f", "-", stdin=json.dumps(live))
    assert desk.json("get", "configmap", "s")["metadata"]["uid"] != before

    for kind, patch in (
        ("merge", '{"data":{"c":"d"}}'),
        ("json", '[{"op":"add","path":"/data/e","value":"f"}]'),
        ("strategic", '{"data":{"b":null}}'),
    ):
        assert "patched" in desk.kubectl("patch", "configmap", "s", f"--type={kind}", "-p", patch)
    assert desk.json("get", "configmap", "s")["data"] == {"c": "d", "e": "f"}
    assert "labeled" in desk.kubectl("label", "configmap", "s", "tier=one")
    assert "already has a value" in desk.kubectl("label", "configmap", "s", "tier=two", code=1)
    assert "labeled" in desk.kubectl("label", "configmap", "s", "tier=two", "--overwrite")
    assert "annotated" in desk.kubectl("annotate", "configmap", "s", "why=because")
    assert "unlabeled" in desk.kubectl("label", "configmap", "s", "tier-")
    metadata = desk.json("get", "configmap", "s")["metadata"]
    assert "labels" not in metadata and metadata["annotations"] == {"why": "because"}


def test_ways_to_get(desk: RunningCluster) -> None:
    for number in range(5):
        desk.kubectl("create", "configmap", f"c{number}", f"--from-literal=rank={9 - number}")
    columns = "NAME:.metadata.name,RANK:.data.rank"
    chosen = desk.kubectl(
        "get", "cm", "-o", f"custom-columns={columns}", "--sort-by=.data.rank", "--chunk-size=2"
    )
    names = [line.split()[0] for line in chosen.splitlines()[1:]]
    assert [name for name in names if name.startswith("c")] == ["c4", "c3", "c2", "c1", "c0"]
    assert desk.kubectl("get", "cm", "c1", "-o", "jsonpath={.data.rank}") == "8"
    assert desk.kubectl("get", "cm", "-o", "name", "--field-selector=metadata.name=c2") == "configmap/c2\n"
    assert "apiVersion: v1" in desk.kubectl("get", "cm", "c3", "-o", "yaml")
    template = "{{range .items}}{{.metadata.name}} {{end}}"
    assert "c0 c1 c2 c3 c4" in desk.kubectl("get", "cm", "-o", f"go-template={template}")
    assert "hollow-1" in desk.kubectl("get", "nodes", "-o", "wide")
    assert "kube-system" in desk.kubectl("get", "namespaces", "--show-labels")
    raw = json.loads(desk.kubectl("get", "--raw", "/apis/apps/v1"))
    assert raw["kind"] == "APIResourceList"
    assert "NotFound" in desk.kubectl("get", "cm", "none", code=1)
    watch = subprocess.Popen(
        desk.command("get", "cm", "-w", "--output-watch-events"),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert watch.stdout is not None and watch.stdout.readline()
        desk.kubectl("delete", "cm", "c0")
        seen = ""
        while "c0" not in seen or "DELETED" not in seen:
            seen = watch.stdout.readline()
            assert seen
    finally:
        watch.kill()
        watch.communicate()


def test_wait_and_rollouts(desk: RunningCluster) -> None:
    desk.kubectl("create", "deployment", "web", "--image=none", "--replicas=3")
    assert "condition met" in desk.kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=30s")
    desk.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=3", "deploy/web", "--timeout=30s")
    desk.kubectl("set", "image", "deploy/web", "none=other")
    assert "successfully rolled out" in desk.kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    assert "restarted" in desk.kubectl("rollout", "restart", "deploy/web")
    assert "paused" in desk.kubectl("rollout", "pause", "deploy/web")
    assert "resumed" in desk.kubectl("rollout", "resume", "deploy/web")
    assert "autoscaled" in desk.kubectl("autoscale", "deploy/web", "--max=5", "--cpu-percent=80")
    assert "exposed" in desk.kubectl("expose", "deploy/web", "--port=80")
    assert "resource requirements updated" in desk.kubectl(
        "set", "resources", "deploy/web", "--requests=cpu=10m"
    )
    assert "serviceaccount updated" in desk.kubectl("set", "serviceaccount", "deploy/web", "default")
    desk.kubectl("delete", "deploy", "web", "--wait=false")
    desk.kubectl("wait", "--for=delete", "pod", "-l", "app=web", "--timeout=30s")
    assert not desk.pods("app=web")
    assert "timed out" in desk.kubectl("wait", "--for=delete", "service/web", "--timeout=1s", code=1)


def test_permissions(desk: RunningCluster, tmp_path: Path) -> None:
    who = desk.json("auth", "whoami")
    assert "system:authenticated" in who["status"]["userInfo"]["groups"]
    assert "yes" in desk.kubectl("auth", "can-i", "delete", "nodes")
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "r", "namespace": desk.current_namespace},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    }
    assert "reconciled" in desk.kubectl("auth", "reconcile", "-f", manifest(tmp_path, role))
    role["rules"] = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]
    desk.kubectl("auth", "reconcile", "-f", manifest(tmp_path, role))
    verbs = sorted(verb for rule in desk.json("get", "role", "r")["rules"] for verb in rule["verbs"])
    assert verbs == ["get", "list"] or verbs == ["get", "get", "list"]
    listed = desk.kubectl("auth", "can-i", "--list", "--as=nobody")
    assert "selfsubjectaccessreviews.authorization.k8s.io" in listed


def test_certificates_are_approved_and_denied(desk: RunningCluster, tmp_path: Path) -> None:
    key, request = tmp_path / "key", tmp_path / "csr"
    subprocess.run(
        [
            "openssl",
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            key,
            "-out",
            request,
            "-subj",
            "/CN=jane",
        ],
        check=True,
        capture_output=True,
    )
    for name in ("yes", "no"):
        asked = {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": f"jane-{name}"},
            "spec": {
                "request": base64.b64encode(request.read_bytes()).decode(),
                "signerName": "example.com/signer",
                "usages": ["client auth"],
            },
        }
        desk.kubectl("create", "-f", manifest(tmp_path, asked))
    assert "approved" in desk.kubectl("certificate", "approve", "jane-yes")
    assert "denied" in desk.kubectl("certificate", "deny", "jane-no")
    shown = desk.kubectl("get", "csr")
    assert "Approved" in shown and "Denied" in shown
    desk.kubectl("delete", "csr", "jane-yes", "jane-no")


def test_nodes_are_tainted_cordoned_and_drained(desk: RunningCluster) -> None:
    assert "tainted" in desk.kubectl("taint", "node", "hollow-1", "special=yes:PreferNoSchedule")
    assert "untainted" in desk.kubectl("taint", "node", "hollow-1", "special-")
    desk.kubectl("create", "deployment", "web", "--image=none", "--replicas=4")
    desk.kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=30s")
    try:
        assert "cordoned" in desk.kubectl("cordon", "hollow-1")
        assert "SchedulingDisabled" in desk.kubectl("get", "nodes")
        drained = desk.kubectl("drain", "hollow-1", "--ignore-daemonsets", "--timeout=50s", "--force")
        assert "drained" in drained
        desk.kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=30s")
        assert {pod["spec"]["nodeName"] for pod in desk.pods("app=web")} == {"hollow-2"}
    finally:
        assert "uncordoned" in desk.kubectl("uncordon", "hollow-1")


def test_what_is_not_there_is_said_clearly(desk: RunningCluster) -> None:
    assert "Metrics API not available" in desk.kubectl("top", "nodes", code=1)
    assert "the server doesn't have a resource type" in desk.kubectl("get", "nothings", code=1)
    assert 'unknown field "spec.nothing"' in desk.kubectl(
        "create",
        "-f",
        "-",
        stdin='{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"nothing":1}}',
        code=1,
    )


def test_an_ephemeral_container_is_accepted(desk: RunningCluster) -> None:
    desk.kubectl("run", "p", "--image=none")
    desk.kubectl("wait", "--for=condition=Ready", "pod/p", "--timeout=30s")
    desk.kubectl("debug", "p", "--image=busybox", "--container=look", "--attach=false", "--", "sleep", "1")
    pod = desk.json("get", "pod", "p")
    assert [each["name"] for each in pod["spec"]["ephemeralContainers"]] == ["look"]
    assert "deleted" in desk.kubectl("delete", "pod", "p", "--now")
