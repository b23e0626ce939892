"""A kubelet with real host processes against an API server in memory."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from coxswain.api.names import CONFIGMAPS, EVENTS, LEASES, NODES, PODS, SECRETS
from coxswain.kubelet import agent as agents
from coxswain.kubelet.agent import Agent
from coxswain.kubelet.config import KubeletConfig, ServerSettings
from coxswain.kubelet.runtime.process import records
from coxswain.kubelet.runtime.process.runtime import ProcessRuntime, ProcessSettings
from fakeapi import FakeApi

SETTINGS = ProcessSettings(network="loopback", isolation="auto")


@asynccontextmanager
async def kubelet(api: FakeApi, where: Path, **options: Any) -> AsyncIterator[Agent]:
    runtime = await ProcessRuntime.open(str(where), options.pop("settings", SETTINGS))
    server = options.pop("server", ServerSettings(enabled=False))
    config = KubeletConfig("n1", str(where), server=server, relist_interval=0.5, **options)
    agent = Agent(api.client(), config, runtime)
    task = asyncio.create_task(agent.run())
    ready = asyncio.create_task(agent.ready.wait())
    try:
        await asyncio.wait({task, ready}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield agent
    finally:
        ready.cancel()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await runtime.close()


@asynccontextmanager
async def cleanup(where: Path, settings: ProcessSettings = SETTINGS) -> AsyncIterator[None]:
    try:
        yield
    finally:
        runtime = await ProcessRuntime.open(str(where), settings)
        await agents.stop_pods(runtime, 0.2)
        await runtime.close()


def pod(name: str, command: list[str], **spec: Any) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": "c",
        "image": "none",
        "command": command,
        **spec.pop("container", {}),
    }
    return {
        "metadata": {"name": name, "namespace": "d"},
        "spec": {
            "nodeName": "n1",
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 2,
            "containers": [container],
            **spec,
        },
        "status": {"phase": "Pending"},
    }


async def until(check: Callable[[], Any], what: str, timeout: float = 15) -> Any:
    async with asyncio.timeout(timeout):
        while True:
            with contextlib.suppress(KeyError, IndexError, FileNotFoundError, StopIteration):
                if found := check():
                    return found
            await asyncio.sleep(0.01)
    raise AssertionError(what)


def status(api: FakeApi, name: str) -> dict[str, Any]:
    return api.object(PODS, name, "d").get("status") or {}


def condition(api: FakeApi, name: str, kind: str) -> str:
    return next((c["status"] for c in status(api, name)["conditions"] if c["type"] == kind), "")


async def test_a_node_registers_and_renews_its_lease(tmp_path: Path) -> None:
    api = FakeApi()
    async with kubelet(api, tmp_path):
        node = api.object(NODES, "n1")
        assert {c["type"]: c["status"] for c in node["status"]["conditions"]}["Ready"] == "True"
        assert node["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("process://")
        lease = await until(lambda: api.object(LEASES, "n1", "kube-node-lease"), "lease")
        assert lease["spec"]["leaseDurationSeconds"] == 40


async def test_a_server_with_volume_and_readiness_probe_becomes_ready_and_ends_gracefully(
    tmp_path: Path,
) -> None:
    api = FakeApi()
    api.add(CONFIGMAPS, {"metadata": {"name": "page", "namespace": "d"}, "data": {"index.html": "hello"}})
    secret = {"key": base64.b64encode(b"hush").decode()}
    api.add(SECRETS, {"metadata": {"name": "s", "namespace": "d"}, "data": secret})
    command = ["sh", "-c", f"exec {sys.executable} -m http.server --bind $POD_IP --directory /srv/page 8099"]
    env = [
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
        {"name": "BOTH", "value": "$(SECRET)-$(UNKNOWN)-$$(SECRET)"},
    ]
    container = {
        "env": env,
        "volumeMounts": [{"name": "page", "mountPath": "/srv/page"}],
        "readinessProbe": {
            "httpGet": {"path": "/index.html", "port": 8099},
            "periodSeconds": 1,
            "timeoutSeconds": 2,
        },
    }
    volumes = [{"name": "page", "configMap": {"name": "page"}}]
    async with cleanup(tmp_path), kubelet(api, tmp_path) as agent:
        api.add(PODS, pod("a", command, container=container, volumes=volumes))
        api.add(PODS, pod("b", command, container=container, volumes=volumes))
        for name in "ab":
            await until(lambda name=name: condition(api, name, "Ready") == "True", "ready")
        assert status(api, "a")["podIP"] != status(api, "b")["podIP"]
        assert status(api, "a")["phase"] == "Running"
        state = status(api, "a")["containerStatuses"][0]
        assert state["ready"] and state["started"] and state["containerID"].startswith("process://")
        uid = api.object(PODS, "a", "d")["metadata"]["uid"]
        box = (await agent.runtime.containers(uid))[0]
        found = await agent.runtime.exec(
            box.id, ["sh", "-c", 'echo "$SECRET $BOTH"; cat /srv/page/index.html'], 5
        )
        assert b"hush hush-$(UNKNOWN)-$(SECRET)" in found.stdout
        if agent.runtime.isolation != "substitute":  # type: ignore[attr-defined]
            assert b"hello" in found.stdout
            assert not os.path.exists("/srv/page")
        await api.client().delete(PODS, "a", "d")
        await until(lambda: not api.exists(PODS, "a", "d"), "deleted")
        assert not await agent.runtime.containers(uid)
        assert not os.path.exists(agent.pod_dir(uid))
        reasons = await until(lambda: [e["reason"] for e in api.objects(EVENTS, "d")], "events")
        assert {"Pulled", "Created", "Started"} <= set(reasons)


async def test_a_killed_process_is_restarted_and_the_second_time_backs_off(tmp_path: Path) -> None:
    api = FakeApi()
    async with cleanup(tmp_path), kubelet(api, tmp_path):
        api.add(PODS, pod("a", ["sleep", "1000"]))

        def running(restarts: int) -> bool:
            state = status(api, "a")["containerStatuses"][0]
            return state["restartCount"] == restarts and "running" in state["state"]

        def kill() -> None:
            files = [records.read(str(p)) for p in tmp_path.glob("runtime/containers/*/state.json")
                     if not (p.parent / "exit.json").exists()]  # fmt: skip
            for record in files:
                assert record is not None
                os.kill(record["pid"], signal.SIGKILL)

        await until(lambda: running(0), "running")
        kill()
        await until(lambda: running(1), "restarted at once")
        assert status(api, "a")["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 137
        kill()
        state = await until(
            lambda: status(api, "a")["containerStatuses"][0]["state"].get("waiting"), "crash loop"
        )
        assert state["reason"] == "CrashLoopBackOff"
        assert state["message"].startswith("back-off 10s restarting failed container=c pod=a_d(")
        assert status(api, "a")["phase"] == "Running"


async def test_a_job_like_pod_succeeds_and_keeps_its_logs(tmp_path: Path) -> None:
    import aiohttp

    api = FakeApi()
    async with cleanup(tmp_path), kubelet(api, tmp_path, server=ServerSettings(port=0)) as agent:
        spec = {
            "restartPolicy": "Never",
            "initContainers": [{"name": "i", "image": "x", "command": ["true"]}],
        }
        api.add(PODS, pod("a", ["sh", "-c", "echo one; echo two >&2; echo three"], **spec))
        await until(lambda: status(api, "a").get("phase") == "Succeeded", "succeeded")
        assert status(api, "a")["containerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"
        base = f"http://127.0.0.1:{agent.port}"
        async with aiohttp.ClientSession() as session:

            async def get(path: str) -> tuple[int, str]:
                async with session.get(base + path) as answer:
                    return answer.status, await answer.text()

            assert await get("/healthz") == (200, "ok")
            code, text = await get("/containerLogs/d/a/c")
            assert code == 200 and sorted(text.split()) == ["one", "three", "two"]
            assert (await get("/containerLogs/d/a/c?tailLines=1"))[1].count("\n") == 1
            assert (await get("/containerLogs/d/a/nope"))[0] == 404
            assert (await get("/containerLogs/d/a/c?previous=true"))[0] == 400
            assert (await get("/exec/d/a/c"))[0] == 501
            assert '"name":"a"' in (await get("/pods"))[1]


async def test_a_missing_command_is_told_as_a_waiting_reason(tmp_path: Path) -> None:
    api = FakeApi()
    async with cleanup(tmp_path), kubelet(api, tmp_path):
        api.add(PODS, pod("a", ["no-such-program"]))
        reason = await until(
            lambda: status(api, "a")["containerStatuses"][0]["state"].get("waiting", {}).get("reason")
            not in (None, "ContainerCreating")
            and status(api, "a")["containerStatuses"][0]["state"]["waiting"]["reason"], "waiting reason",
        )  # fmt: skip
        assert reason in ("RunContainerError", "CrashLoopBackOff")


async def test_a_new_kubelet_adopts_what_runs_and_starts_nothing_twice(tmp_path: Path) -> None:
    api = FakeApi()
    mark = tmp_path / "starts"
    volumes = [{"name": "h", "hostPath": {"path": str(tmp_path)}}]
    container = {"volumeMounts": [{"name": "h", "mountPath": str(tmp_path)}]}
    command = ["sh", "-c", f"echo started >> {mark}; exec sleep 1000"]
    async with cleanup(tmp_path):
        # The first kubelet is a process of its own, killed without warning.
        script = f"""
import asyncio, sys
sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
from coxswain.kubelet.runtime.process.runtime import ProcessRuntime
from coxswain.kubelet.runtime.process.runtime import ProcessSettings
from coxswain.kubelet.config import KubeletConfig, ServerSettings
from coxswain.kubelet import agent
from fakeapi import FakeApi
from coxswain.api.names import PODS
import orjson
async def main():
    api = FakeApi()
    api.add(PODS, orjson.loads(sys.argv[1]))
    runtime = await ProcessRuntime.open({str(tmp_path)!r}, ProcessSettings(network="loopback"))
    config = KubeletConfig("n1", {str(tmp_path)!r}, server=ServerSettings(enabled=False))
    await agent.run(api.client(), config, runtime)
asyncio.run(main())
"""
        import orjson

        wanted = pod("a", command, container=container, volumes=volumes)
        wanted["metadata"]["uid"] = "11111111-2222-3333-4444-555555555555"
        first = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, orjson.dumps(wanted).decode()
        )
        await until(mark.read_text, "first start")
        state = await until(
            lambda: next(tmp_path.glob("runtime/containers/*/state.json")).read_text(), "state"
        )
        first.kill()
        await first.wait()
        api.add(PODS, wanted)
        async with kubelet(api, tmp_path):
            await until(lambda: condition(api, "a", "Ready") == "True", "adopted")
            assert status(api, "a")["containerStatuses"][0]["restartCount"] == 0
        async with kubelet(api, tmp_path):
            await until(lambda: condition(api, "a", "Ready") == "True", "adopted again")
        assert mark.read_text() == "started\n"
        assert next(tmp_path.glob("runtime/containers/*/state.json")).read_text() == state


async def test_what_belongs_to_no_pod_is_stopped(tmp_path: Path) -> None:
    api = FakeApi()
    async with cleanup(tmp_path):
        async with kubelet(api, tmp_path):
            api.add(PODS, pod("a", ["sleep", "1000"]))
            await until(lambda: status(api, "a").get("phase") == "Running", "running")
        api.remove(PODS, "a", "d")
        async with kubelet(api, tmp_path) as agent:
            assert not await agent.runtime.containers()
            assert not await agent.runtime.sandboxes()


@pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/usr/sbin/ip"), reason="needs root and iproute2")
async def test_on_a_bridge_many_pods_use_one_port(tmp_path: Path) -> None:
    api = FakeApi()
    settings = ProcessSettings(network="bridge", pod_cidr="10.199.7.0/24")
    command = [sys.executable, "-m", "http.server", "8080"]
    container = {"readinessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 1, "timeoutSeconds": 2}}
    async with cleanup(tmp_path, settings), kubelet(api, tmp_path, settings=settings):
        for name in "abc":
            api.add(PODS, pod(name, command, container=container))
        for name in "abc":
            await until(lambda name=name: condition(api, name, "Ready") == "True", "ready")
        assert len({status(api, name)["podIP"] for name in "abc"}) == 3


async def test_without_namespaces_volume_paths_are_replaced_by_host_paths(tmp_path: Path) -> None:
    api = FakeApi()
    api.add(CONFIGMAPS, {"metadata": {"name": "m", "namespace": "d"}, "data": {"k": "v1"}})
    settings = ProcessSettings(network="loopback", isolation="substitute")
    command = ["sh", "-c", "while true; do cat /etc/conf/k; echo; sleep 0.05; done"]
    container = {"volumeMounts": [{"name": "v", "mountPath": "/etc/conf"}]}
    volumes = [{"name": "v", "configMap": {"name": "m"}}]
    async with (
        cleanup(tmp_path, settings),
        kubelet(api, tmp_path, settings=settings, volume_refresh=0.2),
    ):
        api.add(PODS, pod("a", command, container=container, volumes=volumes))

        def shown() -> str:
            return next(tmp_path.glob("logs/*/c/0.log")).read_text()

        await until(lambda: "stdout F v1" in shown(), "first value")
        api.change(CONFIGMAPS, "m", "d", lambda m: m["data"].update(k="v2"))
        await until(lambda: "stdout F v2" in shown(), "changed value")


async def test_a_volume_whose_source_is_missing_is_mounted_once_it_appears(tmp_path: Path) -> None:
    api = FakeApi()
    container = {"volumeMounts": [{"name": "v", "mountPath": "/etc/conf"}]}
    volumes = [{"name": "v", "configMap": {"name": "m"}}]
    async with cleanup(tmp_path), kubelet(api, tmp_path):
        api.add(PODS, pod("a", ["sleep", "1000"], container=container, volumes=volumes))
        event = await until(
            lambda: next(e for e in api.objects(EVENTS, "d") if e["reason"] == "FailedMount"), "event"
        )
        assert event["message"] == 'MountVolume.SetUp failed for volume "v" : configmap "m" not found'
        assert status(api, "a")["phase"] == "Pending"
        api.add(CONFIGMAPS, {"metadata": {"name": "m", "namespace": "d"}, "data": {"k": "v"}})
        await until(lambda: status(api, "a")["phase"] == "Running", "running")


async def test_static_pods_run_and_have_mirrors(tmp_path: Path) -> None:
    api = FakeApi()
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: s, namespace: d}\nspec:\n  terminationGracePeriodSeconds: 1\n"
    (manifests / "s.yaml").write_text(
        text + "  containers: [{name: c, image: i, command: [sleep, '1000']}]\n"
    )
    (manifests / "bad.yaml").write_text("kind: Nonsense")
    where = tmp_path / "data"
    options = {"static_pod_dir": str(manifests), "static_pod_interval": 0.1}
    async with cleanup(where), kubelet(api, where, **options) as agent:
        await until(lambda: status(api, "s-n1").get("phase") == "Running", "mirror shows the pod running")
        (manifests / "s.yaml").unlink()
        await until(lambda: not api.exists(PODS, "s-n1", "d") and not agent.loops, "both gone")
