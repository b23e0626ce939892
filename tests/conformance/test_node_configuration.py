"""What containers are told: environment, configuration, secrets and facts of their pod, as conformance asks.

The container reads its environment and the files of its volumes, as the kubelet made them.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from conformance.pretended_runtime import Process
from conformance.whole_cluster import Whole, whole_cluster
from conformance.workload_objects import pod
from coxswain.api import meta
from coxswain.api.names import CONFIGMAPS, GVR, PODS, SECRETS, Object
from coxswain.base import clock

NODE = "[sig-node] "
STORAGE = "[sig-storage] "
BOTH = pytest.mark.parametrize("resource", [CONFIGMAPS, SECRETS], ids=["config map", "secret"])


def mode(process: Process, path: str) -> int:
    """The permissions of a file that a volume shows."""
    for mount in process.config.mounts:
        if path.startswith(mount.container_path + "/"):
            return stat.S_IMODE(Path(mount.host_path + path[len(mount.container_path) :]).stat().st_mode)
    raise FileNotFoundError(path)


def source(resource: GVR, name: str = "conf", **more: Any) -> Object:
    """The volume source of a config map or secret."""
    if resource == CONFIGMAPS:
        return {"configMap": {"name": name, **more}}
    return {"secret": {"secretName": name, **more}}


def projected(resource: GVR, name: str = "conf", **more: Any) -> Object:
    kind = "configMap" if resource == CONFIGMAPS else "secret"
    outer = {key: more.pop(key) for key in ("defaultMode",) if key in more}
    return {"projected": {"sources": [{kind: {"name": name, **more}}], **outer}}


def using(name: str, *volumes: Object, **container: Any) -> Object:
    """A pod that shows each volume at /v0, /v1 and so on."""
    named = [{"name": f"v{number}", **volume} for number, volume in enumerate(volumes)]
    mounts = [{"name": each["name"], "mountPath": f"/{each['name']}"} for each in named]
    return pod(name, volumes=named, container={"volumeMounts": mounts, **container})


async def make(it: Whole, resource: GVR, name: str = "conf", namespace: str = "work", **data: str) -> Object:
    body: Object = {"metadata": {"name": name}}
    body["data" if resource == CONFIGMAPS else "stringData"] = data or {
        "data-1": "value-1",
        "data-2": "value-2",
    }
    return await it.create(resource, body, namespace)


async def run(it: Whole, made: Object) -> Process:
    await it.create(PODS, made)
    name = made["metadata"]["name"]
    await it.until_pods(1, app=name)
    return it.process(name)


# -- environment


@pytest.mark.virtual
@BOTH
@pytest.mark.conformance(
    f"{NODE}ConfigMap should be consumable via environment variable [NodeConformance] [Conformance]",
    f"{NODE}ConfigMap should be consumable via the environment [NodeConformance] [Conformance]",
    f"{NODE}ConfigMap should be consumable as environment variable names with various prefixes [Conformance]",
    f"{NODE}Secrets should be consumable from pods in env vars [NodeConformance] [Conformance]",
    f"{NODE}Secrets should be consumable via the environment [NodeConformance] [Conformance]",
    f"{NODE}Secrets should be consumable as environment variable names variable names with various prefixes [Conformance]",
)
async def test_keys_become_variables_one_by_one_and_all_together(tmp_path: Path, resource: GVR) -> None:
    kind, key = ("configMap", "configMapKeyRef") if resource == CONFIGMAPS else ("secret", "secretKeyRef")
    env = [{"name": "ONE", "valueFrom": {key: {"name": "conf", "key": "data-1"}}}]
    whole = [
        {f"{kind}Ref": {"name": "conf"}},
        *({"prefix": prefix, f"{kind}Ref": {"name": "conf"}} for prefix in ("p-", "p_", "p.")),
    ]
    async with whole_cluster(tmp_path) as it:
        await make(it, resource)
        found = (await run(it, pod("p", container={"env": env, "envFrom": whole}))).env
        assert found["ONE"] == "value-1"
        for prefix in ("", "p-", "p_", "p."):
            assert (found[f"{prefix}data-1"], found[f"{prefix}data-2"]) == ("value-1", "value-2")


def field(path: str) -> Object:
    return {"fieldRef": {"fieldPath": path}}


def amount(name: str) -> Object:
    return {"resourceFieldRef": {"resource": name}}


def variables(**wanted: Object) -> list[Object]:
    return [{"name": name, "valueFrom": source} for name, source in wanted.items()]


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NODE}Downward API should provide pod name, namespace and IP address as env vars [NodeConformance] [Conformance]",
    f"{NODE}Downward API should provide host IP as an env var [NodeConformance] [Conformance]",
    f"{NODE}Downward API should provide hostIPs as an env var [NodeConformance] [Conformance]",
    f"{NODE}Downward API should provide pod UID as env vars [NodeConformance] [Conformance]",
    f"{NODE}Downward API should provide container's limits.cpu/memory and requests.cpu/memory as env vars [NodeConformance] [Conformance]",
    f"{NODE}Downward API should provide default limits.cpu/memory from node allocatable [NodeConformance] [Conformance]",
    f"{NODE}Variable Expansion should allow composing env vars into new env vars [NodeConformance] [Conformance]",
    f"{NODE}Variable Expansion should allow substituting values in a container's command [NodeConformance] [Conformance]",
    f"{NODE}Variable Expansion should allow substituting values in a container's args [NodeConformance] [Conformance]",
)
async def test_facts_of_the_pod_and_its_container_become_variables(tmp_path: Path) -> None:
    env = variables(
        NAME=field("metadata.name"),
        SPACE=field("metadata.namespace"),
        IP=field("status.podIP"),
        HOST=field("status.hostIP"),
        HOSTS=field("status.hostIPs"),
        UID=field("metadata.uid"),
        CPU_LIMIT=amount("limits.cpu"),
        MEMORY_LIMIT=amount("limits.memory"),
        CPU=amount("requests.cpu"),
        MEMORY=amount("requests.memory"),
    )
    env += [{"name": "BOTH", "value": "$(NAME);;$(SPACE)"}, {"name": "KEPT", "value": "$$(NAME) $(NONE)"}]
    resources = {
        "requests": {"cpu": "250m", "memory": "32Mi"},
        "limits": {"cpu": "1250m", "memory": "64Mi"},
    }
    told = {"env": env, "command": ["sh", "-c", "echo $(NAME)"], "args": ["$(BOTH)"]}
    async with whole_cluster(tmp_path, capacity={"cpu": "8", "memory": "32Gi"}) as it:
        process = await run(it, pod("p", container={**told, "resources": resources}))
        found, running = process.env, await it.get(PODS, "p")
        status = running["status"]
        assert (found["NAME"], found["SPACE"], found["UID"]) == ("p", "work", meta.uid(running))
        assert (found["IP"], found["HOST"], found["HOSTS"]) == (
            status["podIP"], status["hostIP"], status["hostIP"],
        )  # fmt: skip
        assert (found["CPU_LIMIT"], found["CPU"]) == ("2", "1")
        assert (found["MEMORY_LIMIT"], found["MEMORY"]) == (str(64 << 20), str(32 << 20))
        assert (found["BOTH"], found["KEPT"]) == ("p;;work", "$(NAME) $(NONE)")
        assert list(process.config.command) == ["sh", "-c", "echo p"]
        assert list(process.config.args) == ["p;;work"]
        limits = variables(CPU_LIMIT=amount("limits.cpu"), MEMORY_LIMIT=amount("limits.memory"))
        found = (await run(it, pod("q", container={"env": limits}))).env
        assert (found["CPU_LIMIT"], found["MEMORY_LIMIT"]) == ("8", str(32 << 30))


# -- volumes


@pytest.mark.virtual
@BOTH
@pytest.mark.conformance(
    f"{STORAGE}ConfigMap should be consumable from pods in volume [NodeConformance] [Conformance]",
    f"{STORAGE}ConfigMap should be consumable from pods in volume with defaultMode set [LinuxOnly] [NodeConformance] [Conformance]",
    f"{STORAGE}ConfigMap should be consumable from pods in volume with mappings [NodeConformance] [Conformance]",
    f"{STORAGE}ConfigMap should be consumable from pods in volume with mappings and Item mode set [LinuxOnly] [NodeConformance] [Conformance]",
    f"{STORAGE}ConfigMap should be consumable in multiple volumes in the same pod [NodeConformance] [Conformance]",
    f"{STORAGE}Secrets should be consumable from pods in volume [NodeConformance] [Conformance]",
    f"{STORAGE}Secrets should be consumable from pods in volume with defaultMode set [LinuxOnly] [NodeConformance] [Conformance]",
    f"{STORAGE}Secrets should be consumable from pods in volume with mappings [NodeConformance] [Conformance]",
    f"{STORAGE}Secrets should be consumable from pods in volume with mappings and Item Mode set [LinuxOnly] [NodeConformance] [Conformance]",
    f"{STORAGE}Secrets should be consumable in multiple volumes in a pod [NodeConformance] [Conformance]",
    f"{STORAGE}Secrets should be able to mount in a volume regardless of a different secret existing with same name in different namespace [NodeConformance] [Conformance]",
    f"{STORAGE}Projected configMap should be consumable from pods in volume [NodeConformance] [Conformance]",
    f"{STORAGE}Projected configMap should be consumable from pods in volume with defaultMode set [LinuxOnly] [NodeConformance] [Conformance]",
    f"{STORAGE}Projected configMap should be consumable from pods in volume with mappings [NodeConformance] [Conformance]",
    f"{STORAGE}Projected configMap should be consumable from pods in volume with mappings and Item mode set [LinuxOnly] [NodeConformance] [Conformance]",
    f"{STORAGE}Projected configMap should be consumable in multiple volumes in the same pod [NodeConformance] [Conformance]",
    f"{STORAGE}Projected secret should be consumable from pods in volume [NodeConformance] [Conformance]",
    f"{STORAGE}Projected secret should be consumable from pods in volume with defaultMode set [LinuxOnly] [NodeConformance] [Conformance]",
    f"{STORAGE}Projected secret should be consumable from pods in volume with mappings [NodeConformance] [Conformance]",
    f"{STORAGE}Projected secret should be consumable from pods in volume with mappings and Item Mode set [LinuxOnly] [NodeConformance] [Conformance]",
    f"{STORAGE}Projected secret should be consumable in multiple volumes in a pod [NodeConformance] [Conformance]",
)
async def test_keys_become_files_under_names_and_with_modes_of_choice(tmp_path: Path, resource: GVR) -> None:
    items = [{"key": "data-2", "path": "path/to/data-2", "mode": 0o400}]
    async with whole_cluster(tmp_path) as it:
        await make(it, resource)
        await make(it, resource, namespace="default", **{"data-1": "of another"})
        for name, shown in (("plain", source), ("projected", projected)):
            process = await run(
                it,
                using(
                    name,
                    shown(resource),
                    shown(resource, defaultMode=0o400),
                    shown(resource, items=items),
                ),
            )
            assert (process.read("/v0/data-1"), process.read("/v0/data-2")) == ("value-1", "value-2")
            assert (mode(process, "/v0/data-1"), mode(process, "/v1/data-1")) == (0o644, 0o400)
            assert process.read("/v2/path/to/data-2") == "value-2"
            assert mode(process, "/v2/path/to/data-2") == 0o400
            with pytest.raises(FileNotFoundError):
                process.read("/v2/data-1")


@pytest.mark.virtual
@BOTH
@pytest.mark.conformance(
    f"{STORAGE}ConfigMap updates should be reflected in volume [NodeConformance] [Conformance]",
    f"{STORAGE}ConfigMap optional updates should be reflected in volume [NodeConformance] [Conformance]",
    f"{STORAGE}Secrets optional updates should be reflected in volume [NodeConformance] [Conformance]",
    f"{STORAGE}Projected configMap updates should be reflected in volume [NodeConformance] [Conformance]",
    f"{STORAGE}Projected configMap optional updates should be reflected in volume [NodeConformance] [Conformance]",
    f"{STORAGE}Projected secret optional updates should be reflected in volume [NodeConformance] [Conformance]",
)
async def test_volumes_follow_what_they_show(tmp_path: Path, resource: GVR) -> None:
    async with whole_cluster(tmp_path) as it:
        for name in ("goes", "changes"):
            await make(it, resource, name, key="value-1")
        volumes = [
            shown(resource, name, optional=True)
            for shown in (source, projected)
            for name in ("goes", "changes", "comes")
        ]
        process = await run(it, using("p", *volumes))
        assert process.read("/v0/key") == process.read("/v4/key") == "value-1"
        with pytest.raises(FileNotFoundError):
            process.read("/v2/key")
        await it.delete(resource, "goes")
        encoded = "value-2" if resource == CONFIGMAPS else "dmFsdWUtMg=="
        await it.patch(resource, "changes", {"data": {"key": encoded}})
        await make(it, resource, "comes", key="value-3")
        await clock.sleep(120)
        for first in (0, 3):
            with pytest.raises(FileNotFoundError):
                process.read(f"/v{first}/key")
            assert process.read(f"/v{first + 1}/key") == "value-2"
            assert process.read(f"/v{first + 2}/key") == "value-3"


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{STORAGE}ConfigMap binary data should be reflected in volume [NodeConformance] [Conformance]"
)
async def test_binary_data_becomes_a_file_too(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        body = {"metadata": {"name": "conf"}, "data": {"text": "a"}, "binaryData": {"dump": "3sr+ug=="}}
        await it.create(CONFIGMAPS, body)
        process = await run(it, using("p", source(CONFIGMAPS)))
        (shown,) = [m.host_path for m in process.config.mounts if m.container_path == "/v0"]
        assert (Path(shown) / "dump").read_bytes() == b"\xde\xca\xfe\xba"
        assert process.read("/v0/text") == "a"


def downward(projecting: bool, *items: Object, **more: Any) -> Object:
    if projecting:
        return {"projected": {"sources": [{"downwardAPI": {"items": list(items)}}], **more}}
    return {"downwardAPI": {"items": list(items), **more}}


@pytest.mark.virtual
@pytest.mark.parametrize("projecting", [False, True], ids=["volume", "projected"])
@pytest.mark.conformance(
    f"{STORAGE}Downward API volume should provide podname only [NodeConformance] [Conformance]",
    f"{STORAGE}Downward API volume should set DefaultMode on files [LinuxOnly] [NodeConformance] [Conformance]",
    f"{STORAGE}Downward API volume should set mode on item file [LinuxOnly] [NodeConformance] [Conformance]",
    f"{STORAGE}Downward API volume should update labels on modification [NodeConformance] [Conformance]",
    f"{STORAGE}Downward API volume should update annotations on modification [NodeConformance] [Conformance]",
    f"{STORAGE}Downward API volume should provide container's cpu limit [NodeConformance] [Conformance]",
    f"{STORAGE}Downward API volume should provide container's memory limit [NodeConformance] [Conformance]",
    f"{STORAGE}Downward API volume should provide container's cpu request [NodeConformance] [Conformance]",
    f"{STORAGE}Downward API volume should provide container's memory request [NodeConformance] [Conformance]",
    f"{STORAGE}Downward API volume should provide node allocatable (cpu) as default cpu limit if the limit is not set [NodeConformance] [Conformance]",
    f"{STORAGE}Downward API volume should provide node allocatable (memory) as default memory limit if the limit is not set [NodeConformance] [Conformance]",
    f"{STORAGE}Projected downwardAPI should provide podname only [NodeConformance] [Conformance]",
    f"{STORAGE}Projected downwardAPI should set DefaultMode on files [LinuxOnly] [NodeConformance] [Conformance]",
    f"{STORAGE}Projected downwardAPI should set mode on item file [LinuxOnly] [NodeConformance] [Conformance]",
    f"{STORAGE}Projected downwardAPI should update labels on modification [NodeConformance] [Conformance]",
    f"{STORAGE}Projected downwardAPI should update annotations on modification [NodeConformance] [Conformance]",
    f"{STORAGE}Projected downwardAPI should provide container's cpu limit [NodeConformance] [Conformance]",
    f"{STORAGE}Projected downwardAPI should provide container's memory limit [NodeConformance] [Conformance]",
    f"{STORAGE}Projected downwardAPI should provide container's cpu request [NodeConformance] [Conformance]",
    f"{STORAGE}Projected downwardAPI should provide container's memory request [NodeConformance] [Conformance]",
    f"{STORAGE}Projected downwardAPI should provide node allocatable (cpu) as default cpu limit if the limit is not set [NodeConformance] [Conformance]",
    f"{STORAGE}Projected downwardAPI should provide node allocatable (memory) as default memory limit if the limit is not set [NodeConformance] [Conformance]",
)
async def test_facts_become_files_which_follow_them(tmp_path: Path, projecting: bool) -> None:
    files = [
        {"path": "name", **field("metadata.name")},
        {"path": "labels", **field("metadata.labels"), "mode": 0o400},
        {"path": "annotations", **field("metadata.annotations")},
        *(
            {"path": name, "resourceFieldRef": {"containerName": "c", "resource": name}}
            for name in ("limits.cpu", "limits.memory", "requests.cpu", "requests.memory")
        ),
    ]
    resources = {
        "requests": {"cpu": "250m", "memory": "32Mi"},
        "limits": {"cpu": "1250m", "memory": "64Mi"},
    }
    async with whole_cluster(tmp_path, capacity={"cpu": "8", "memory": "32Gi"}) as it:
        made = using(
            "p",
            downward(projecting, *files),
            downward(projecting, files[0], defaultMode=0o400),
            resources=resources,
        )
        made["metadata"]["annotations"] = {"builder": "bar"}
        process = await run(it, made)
        assert process.read("/v0/name") == "p"
        assert (mode(process, "/v0/name"), mode(process, "/v0/labels"), mode(process, "/v1/name")) == (
            0o644, 0o400, 0o400,
        )  # fmt: skip
        assert process.read("/v0/labels").strip() == 'app="p"'
        amounts = [process.read(f"/v0/{each['path']}") for each in files[3:]]
        assert amounts == ["2", str(64 << 20), "1", str(32 << 20)]
        await it.patch(
            PODS, "p", {"metadata": {"labels": {"key3": "value3"}, "annotations": {"builder": "foo"}}}
        )
        await clock.sleep(120)
        assert sorted(process.read("/v0/labels").split()) == ['app="p"', 'key3="value3"']
        assert 'builder="foo"' in process.read("/v0/annotations")
        unlimited = await run(it, using("q", downward(projecting, *files[3:5])))
        assert (unlimited.read("/v0/limits.cpu"), unlimited.read("/v0/limits.memory")) == ("8", str(32 << 30))


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{STORAGE}Projected combined should project all components that make up the projection API [Projection] [NodeConformance] [Conformance]"
)
async def test_one_volume_shows_everything_together(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        await make(it, CONFIGMAPS, **{"configmap-data": "configmap-value-1"})
        await make(it, SECRETS, **{"secret-data": "secret-value-1"})
        sources = [
            {"downwardAPI": {"items": [{"path": "podname", **field("metadata.name")}]}},
            {"secret": {"name": "conf", "items": [{"key": "secret-data", "path": "s/data"}]}},
            {"configMap": {"name": "conf", "items": [{"key": "configmap-data", "path": "c/data"}]}},
        ]
        process = await run(it, using("p", {"projected": {"sources": sources}}))
        assert process.read("/v0/podname") == "p"
        assert (process.read("/v0/s/data"), process.read("/v0/c/data")) == (
            "secret-value-1", "configmap-value-1",
        )  # fmt: skip


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NODE}Variable Expansion should allow substituting values in a volume subpath [Conformance]",
    f"{NODE}Variable Expansion should fail substituting values in a volume subpath with absolute path [Conformance]",
    f"{NODE}Variable Expansion should fail substituting values in a volume subpath with backticks [Conformance]",
)
async def test_a_part_of_a_volume_is_chosen_by_a_variable(tmp_path: Path) -> None:
    def choosing(name: str, value: str) -> Object:
        made = using(name, {"emptyDir": {}}, env=[{"name": "PART", "value": value}])
        made["spec"]["containers"][0]["volumeMounts"][0]["subPathExpr"] = "$(PART)"
        return made

    async with whole_cluster(tmp_path) as it:
        process = await run(it, choosing("p", "foo"))
        (mount,) = [each for each in process.config.mounts if each.container_path == "/v0"]
        assert mount.host_path.endswith("/foo") or mount.sub_path == "foo"
        for name, value in (("absolute", "/tmp"), ("outside", "..")):
            await it.create(PODS, choosing(name, value))
            await clock.sleep(60)
            found = await it.get(PODS, name)
            assert found["status"]["phase"] == "Pending"
            state = found["status"]["containerStatuses"][0]["state"]["waiting"]
            assert state["reason"] == "CreateContainerConfigError"
            await it.delete(PODS, name)
            await it.until_gone(PODS, name)


@pytest.mark.virtual
@pytest.mark.conformance(
    f"{NODE}Kubelet when scheduling an agnhost Pod with hostAliases should write entries to /etc/hosts [NodeConformance] [Conformance]"
)
async def test_aliases_of_hosts_are_in_the_hosts_file(tmp_path: Path) -> None:
    async with whole_cluster(tmp_path) as it:
        aliases = [{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}]
        process = await run(it, pod("p", hostAliases=aliases))
        (hosts,) = [m.host_path for m in process.config.mounts if m.container_path == "/etc/hosts"]
        text = Path(hosts).read_text()
        assert "# Entries added by HostAliases." in text
        assert "123.45.67.89\tfoo\tbar" in text
