"""Encryption at rest: what lies in the store, what clients see, rotation, keys that are missing."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver.core_support import ADMIN, CONFIGMAPS, Cluster, configmap
from coxswain.api import errors
from coxswain.api.names import GVR, NAMESPACES, SECRETS
from coxswain.apiserver.admission.chain import Chain
from coxswain.apiserver.authz.authorizer import Authorizer
from coxswain.apiserver.encryption import configuration
from coxswain.apiserver.encryption.ciphers import AesCbc, AesGcm, DerivedGcm, SecretBox, TransformError
from coxswain.apiserver.encryption.providers import Identity, Keyed, Transformer
from coxswain.apiserver.encryption.reloading import Encryption
from coxswain.apiserver.encryption.resources import Transformers
from coxswain.apiserver.encryption.settings import EncryptionSettings
from coxswain.apiserver.pipeline import Pipeline
from coxswain.apiserver.registry import Registry
from coxswain.apiserver.request import Core
from coxswain.apiserver.storage import Storage
from coxswain.base import clock
from coxswain.base.errors import ConfigurationError
from coxswain.store.interface import Store
from coxswain.store.memory import MemoryStore
from coxswain.store.sqlite import SqliteStore

KEY1, KEY2 = bytes(range(32)), bytes(range(32, 64))
CONTEXT = b"/registry/secrets/default/token"


def keys(*named: tuple[str, bytes]) -> dict[str, Any]:
    return {"keys": [{"name": name, "secret": base64.b64encode(key).decode()} for name, key in named]}


def write_config(path: Path, *elements: tuple[list[str], list[dict[str, Any]]]) -> Path:
    import orjson

    raw = {
        "kind": "EncryptionConfiguration",
        "apiVersion": "apiserver.config.k8s.io/v1",
        "resources": [{"resources": names, "providers": providers} for names, providers in elements],
    }
    path.write_bytes(orjson.dumps(raw))
    path.chmod(0o600)
    return path


GCM1 = {"aesgcm": keys(("key1", KEY1))}
GCM2 = {"aesgcm": keys(("key2", KEY2))}
IDENTITY: dict[str, Any] = {"identity": {}}


class Sealed(Cluster):
    encryption: Encryption


@asynccontextmanager
async def sealed_cluster(store: Store, config: Path, **settings: Any) -> AsyncIterator[Sealed]:
    encryption = await Encryption.open(store, EncryptionSettings(config, **settings))
    storage = Storage(encryption.store, sealing=encryption.store)
    registry = Registry(storage)
    registry.add_built_in()
    await storage.start()
    core = Core(storage, registry, Chain([]), Authorizer(registry.lookup))
    running = Sealed(Pipeline(core))
    running.encryption = encryption
    if registry.lookup.get(NAMESPACES, "", "default") is None:
        await running.do("create", NAMESPACES, body={"metadata": {"name": "default"}})
    try:
        yield running
    finally:
        await storage.stop()


def secret(name: str = "token", value: str = "opensesame") -> dict[str, Any]:
    data = {"password": base64.b64encode(value.encode()).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


async def raw_of(store: Store, name: str = "token") -> bytes:
    entry = await store.get(f"/registry/secrets/default/{name}")
    assert entry is not None
    return entry.value


async def test_the_store_holds_kubernetes_form_and_clients_see_plain_objects(tmp_path: Path) -> None:
    store = MemoryStore()
    config = write_config(tmp_path / "c", (["secrets"], [GCM1, IDENTITY]))
    async with sealed_cluster(store, config) as cluster:
        made = await cluster.do("create", SECRETS, body=secret())
        await cluster.do("create", CONFIGMAPS, body=configmap("c", a="b"))
        raw = await raw_of(store)
        assert raw.startswith(b"k8s:enc:aesgcm:v1:key1:")
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        body = raw.removeprefix(b"k8s:enc:aesgcm:v1:key1:")
        plain = AESGCM(KEY1).decrypt(body[:12], body[12:], CONTEXT)
        assert b'"password"' in plain
        plain_map = await store.get("/registry/configmaps/default/c")
        assert plain_map is not None and plain_map.value.startswith(b"{")
        assert (await cluster.do("get", SECRETS, "token"))["data"] == made["data"]
        listed = await cluster.do("list", SECRETS)
        assert [one["metadata"]["name"] for one in listed["items"]] == ["token"]
    async with sealed_cluster(store, config) as cluster:
        assert (await cluster.do("get", SECRETS, "token"))["data"] == made["data"]
        chunk = await cluster.do("list", SECRETS, resourceVersion="2", resourceVersionMatch="Exact")
        assert len(chunk["items"]) == 1


async def test_neither_the_sqlite_file_nor_its_log_has_a_plain_secret(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    config = write_config(tmp_path / "c", (["secrets"], [GCM1]))
    store = await SqliteStore.open(path)
    async with sealed_cluster(store, config) as cluster:
        for number in range(20):
            await cluster.do("create", SECRETS, body=secret(f"s{number}", "opensesame" * 40))
        stored = cluster.core.registry.lookup.raw(SECRETS, "default", "s0")
        assert stored is not None
        needle = secret("x", "opensesame" * 40)["data"]["password"].encode()
        assert needle in stored
        files = sorted(tmp_path.glob("store.db*"))
        assert path in files and any(file.name.endswith("-wal") for file in files)
        contents = b"".join(file.read_bytes() for file in files)
        assert b"k8s:enc:aesgcm:v1:key1:" in contents
        assert needle not in contents and b'"password"' not in contents
    await store.close()
    assert needle not in path.read_bytes()


async def test_an_update_that_changes_nothing_writes_a_value_under_an_old_key_anew(tmp_path: Path) -> None:
    store = MemoryStore()
    path = tmp_path / "c"
    async with sealed_cluster(store, write_config(path, (["secrets"], [IDENTITY]))) as cluster:
        await cluster.do("create", SECRETS, body=secret())
        assert (await raw_of(store)).startswith(b"{")
    async with sealed_cluster(store, write_config(path, (["secrets"], [GCM1, IDENTITY]))) as cluster:
        before = await cluster.do("get", SECRETS, "token")
        after = await cluster.do("update", SECRETS, "token", body=before)
        assert (await raw_of(store)).startswith(b"k8s:enc:aesgcm:v1:key1:")
        assert int(after["metadata"]["resourceVersion"]) > int(before["metadata"]["resourceVersion"])
        again = await cluster.do("update", SECRETS, "token", body=after)
        assert again["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]
    rotated = {"aesgcm": keys(("key2", KEY2), ("key1", KEY1))}
    async with sealed_cluster(store, write_config(path, (["secrets"], [rotated]))) as cluster:
        await cluster.do("update", SECRETS, "token", body=await cluster.do("get", SECRETS, "token"))
        assert (await raw_of(store)).startswith(b"k8s:enc:aesgcm:v1:key2:")


async def test_a_key_that_took_anothers_name_makes_values_stale(tmp_path: Path) -> None:
    store = MemoryStore()
    path = tmp_path / "c"
    async with sealed_cluster(store, write_config(path, (["secrets"], [GCM1]))) as cluster:
        await cluster.do("create", SECRETS, body=secret())
    both = [{"aesgcm": keys(("key1", KEY2))}, GCM1]
    async with sealed_cluster(store, write_config(path, (["secrets"], both))) as cluster:
        old = await raw_of(store)
        await cluster.do("update", SECRETS, "token", body=await cluster.do("get", SECRETS, "token"))
        assert await raw_of(store) != old


async def test_what_no_key_opens_answers_500_and_the_rest_works(tmp_path: Path) -> None:
    store = MemoryStore()
    path = tmp_path / "c"
    async with sealed_cluster(store, write_config(path, (["secrets"], [GCM1]))) as cluster:
        await cluster.do("create", SECRETS, body=secret())
    async with sealed_cluster(store, write_config(path, (["secrets"], [GCM2, IDENTITY]))) as cluster:
        with pytest.raises(errors.ApiError) as refused:
            await cluster.do("get", SECRETS, "token")
        assert (refused.value.code, refused.value.message) == (
            500,
            "Internal error occurred: no matching key was found for the provided AES transformer",
        )
        with pytest.raises(errors.ApiError) as refused:
            await cluster.do("list", SECRETS)
        assert refused.value.message == (
            'Internal error occurred: unable to transform key "/registry/secrets/default/token": '
            "no matching key was found for the provided AES transformer"
        )
        with pytest.raises(errors.ApiError):
            await cluster.do("delete", SECRETS, "token")
        await cluster.do("create", SECRETS, body=secret("other"))
        assert (await cluster.do("get", SECRETS, "other"))["metadata"]["name"] == "other"
        assert (await cluster.do("list", SECRETS, namespace="elsewhere"))["items"] == []


async def test_a_value_moved_to_another_key_is_not_believed(tmp_path: Path) -> None:
    store = MemoryStore()
    config = write_config(tmp_path / "c", (["secrets"], [GCM1]))
    async with sealed_cluster(store, config) as cluster:
        await cluster.do("create", SECRETS, body=secret())
        from coxswain.store.interface import Op

        stolen = await raw_of(store)
        revision = await store.commit([Op("/registry/secrets/default/copy", stolen)])
        await cluster.core.storage.wait_for(revision)
        with pytest.raises(errors.ApiError, match="message authentication failed"):
            await cluster.do("get", SECRETS, "copy")


@pytest.mark.virtual
async def test_a_changed_file_is_taken_while_the_server_runs(tmp_path: Path) -> None:
    import asyncio

    store = MemoryStore()
    path = write_config(tmp_path / "c", (["secrets"], [GCM1]))
    async with sealed_cluster(store, path, automatic_reload=True) as cluster:
        following = asyncio.get_running_loop().create_task(cluster.encryption.follow())
        await cluster.do("create", SECRETS, body=secret())
        write_config(path, (["secrets"], [{"aesgcm": keys(("key2", KEY2), ("key1", KEY1))}]))
        await clock.sleep(61)
        await cluster.do("update", SECRETS, "token", body=await cluster.do("get", SECRETS, "token"))
        assert (await raw_of(store)).startswith(b"k8s:enc:aesgcm:v1:key2:")
        path.write_text("kind: nonsense")
        await clock.sleep(61)
        await cluster.do("create", SECRETS, body=secret("second"))
        assert (await raw_of(store, "second")).startswith(b"k8s:enc:aesgcm:v1:key2:")
        following.cancel()


async def test_keys_that_come_back_make_lost_objects_readable(tmp_path: Path) -> None:
    store = MemoryStore()
    path = tmp_path / "c"
    async with sealed_cluster(store, write_config(path, (["secrets"], [GCM1]))) as cluster:
        await cluster.do("create", SECRETS, body=secret())
    async with sealed_cluster(store, write_config(path, (["secrets"], [GCM2]))) as cluster:
        assert cluster.core.storage.unreadable
        write_config(path, (["secrets"], [GCM2, GCM1]))
        assert await cluster.encryption.look()
        # The next write cannot be answered before everything has been loaded again.
        await cluster.do("create", SECRETS, body=secret("other"))
        assert (await cluster.do("get", SECRETS, "token"))["metadata"]["name"] == "token"
        assert not cluster.core.storage.unreadable


def test_rules_match_resources_groups_and_everything(tmp_path: Path) -> None:
    config = write_config(
        tmp_path / "c",
        (["secrets", "boats.example.com"], [GCM1]),
        (["*.apps"], [GCM2]),
        (["*.*"], [{"aescbc": keys(("old", KEY1[:16]))}]),
    )
    transformers = Transformers.of(configuration.load(config))

    def prefix(key: str) -> bytes:
        found = transformers.of_key(key)
        assert found is not None
        return found.seal(b"{}", b"")[:23]

    assert prefix("/registry/secrets/default/a") == b"k8s:enc:aesgcm:v1:key1:"
    assert prefix("/registry/example.com/boats/default/a") == b"k8s:enc:aesgcm:v1:key1:"
    assert prefix("/registry/deployments/default/a") == b"k8s:enc:aesgcm:v1:key2:"
    assert prefix("/registry/services/specs/default/a").startswith(b"k8s:enc:aescbc:v1:old:")
    assert prefix("/registry/example.com/ships/a").startswith(b"k8s:enc:aescbc:v1:old:")
    only = Transformers.of(configuration.load(write_config(tmp_path / "d", (["*."], [GCM1]))))
    assert only.of_key("/registry/services/specs/default/a") is not None
    assert only.of_key("/registry/minions/a") is not None
    assert only.of_key("/registry/deployments/default/a") is None


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ([], "resources: Required value: at least one resources is required"),
        ([([], [IDENTITY])], "resources[0].resources: Required value"),
        ([(["secrets"], [])], "resources[0].providers: Required value"),
        ([(["Secrets"], [IDENTITY])], "resource name should not contain capital letters"),
        ([(["*"], [IDENTITY])], "use '*.' to encrypt all the resources from core API group"),
        ([(["secrets.*"], [IDENTITY])], "encrypting the same resource across groups is not supported"),
        ([(["events.events.k8s.io"], [IDENTITY])], "Use 'events' instead in the config file"),
        ([(["ingresses.extensions"], [IDENTITY])], "'extensions' group has been removed"),
        ([(["secrets", "*."], [IDENTITY])], "using overlapping resources"),
        ([(["secrets", "secrets"], [IDENTITY])], "the same resource cannot be specified multiple times"),
        (
            [(["*.apps"], [IDENTITY]), (["deployments.apps"], [IDENTITY])],
            'resource "deployments.apps" is masked by earlier rule "*.apps"',
        ),
        (
            [(["*.*"], [IDENTITY]), (["secrets"], [IDENTITY])],
            'resource "secrets" is masked by earlier rule "*.*"',
        ),
        ([(["secrets"], [{**IDENTITY, **GCM1}])], "more than one provider specified in a single element"),
        ([(["secrets"], [{"identity": None}])], "does not contain any of the expected providers"),
        ([(["secrets"], [{"rot13": {}}])], 'unknown field "resources[0].providers[0].rot13"'),
        ([(["secrets"], [{"aesgcm": keys()}])], "resources[0].providers[0].aesgcm.keys: Required value"),
        (
            [(["secrets"], [{"aesgcm": keys(("k", b"short"))}])],
            'keys[0].secret: Invalid value: "REDACTED": secret is not of the expected length, got 5, expected one',
        ),
        ([(["secrets"], [{"secretbox": keys(("k", KEY1[:16]))}])], "got 16, expected one of [32]"),
        ([(["secrets"], [{"aesgcm": {"keys": [{"name": "a", "secret": "%"}]}}])], "must be base64 encoded"),
        (
            [(["secrets"], [{"kms": {"name": "k", "endpoint": "unix:///s"}}])],
            "KMSv1 is deprecated",
        ),
        (
            [(["secrets"], [{"kms": {"apiVersion": "v2", "name": "k", "endpoint": "tcp://s"}}])],
            'unsupported scheme "tcp" for KMS provider, only unix is supported',
        ),
    ],
)
def test_a_wrong_file_is_refused_in_kubernetes_words(tmp_path: Path, elements: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        configuration.load(write_config(tmp_path / "c", *elements))
    assert message in str(refused.value)


def test_a_file_that_is_missing_empty_or_open_to_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c"
    with pytest.raises(ConfigurationError, match="No such file"):
        configuration.load(path)
    write_config(path, (["secrets"], [GCM1])).chmod(0o644)
    with pytest.raises(ConfigurationError, match="mode 0644"):
        configuration.load(path)
    path.chmod(0o600)
    path.write_bytes(b"")
    with pytest.raises(ConfigurationError, match="is empty"):
        configuration.load(path)


def test_no_key_is_shown_in_what_is_printed_of_a_configuration(tmp_path: Path) -> None:
    loaded = configuration.load(write_config(tmp_path / "c", (["secrets"], [GCM1])))
    assert repr(KEY1) not in repr(loaded) and "secret" not in repr(loaded.resources["", "secrets"])


CIPHERS = [AesGcm, AesCbc, SecretBox, DerivedGcm]


@pytest.mark.parametrize("cipher", CIPHERS)
@given(plain=st.binary(max_size=200))
def test_ciphers_open_what_they_sealed(cipher: Any, plain: bytes) -> None:
    one = cipher(KEY1)
    sealed = one.seal(plain, CONTEXT)
    assert one.open(sealed, CONTEXT) == plain
    assert one.seal(plain, CONTEXT) != sealed


@pytest.mark.parametrize("cipher", [AesGcm, SecretBox, DerivedGcm])
@given(at=st.integers(min_value=0, max_value=60))
def test_ciphers_that_authenticate_notice_a_changed_byte(cipher: Any, at: int) -> None:
    one = cipher(KEY1)
    sealed = bytearray(one.seal(b"x" * 40, CONTEXT))
    sealed[at % len(sealed)] ^= 1
    with pytest.raises(TransformError):
        one.open(bytes(sealed), CONTEXT)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_ciphers_refuse_what_is_too_short(cipher: Any) -> None:
    with pytest.raises(TransformError):
        cipher(KEY1).open(b"abc", CONTEXT)


def test_identity_first_writes_plain_and_reads_what_was_encrypted() -> None:
    leaving = Transformer([Identity(), Keyed("aesgcm", [("key1", KEY1)])])
    sealed = Transformer([Keyed("aesgcm", [("key1", KEY1)])]).seal(b"{}", CONTEXT)
    assert leaving.open(sealed, CONTEXT)[0] == b"{}"
    assert leaving.seal(b"{}", CONTEXT) == b"{}"
    with pytest.raises(TransformError, match="no matching prefix found"):
        Transformer([Identity()]).open(sealed, CONTEXT)


def test_resources_without_a_rule_refuse_what_is_encrypted() -> None:
    with pytest.raises(TransformError, match="identity transformer tried to read encrypted data"):
        Identity().open(b"k8s:enc:aesgcm:v1:key1:x", CONTEXT)


async def test_a_server_without_the_file_refuses_to_start_over_encrypted_objects(tmp_path: Path) -> None:
    from coxswain.apiserver.server import ApiServer
    from coxswain.apiserver.settings import ApiServerConfig, ServingSettings

    config = write_config(tmp_path / "c", (["secrets"], [GCM1]))
    data = tmp_path / "data"
    with_file = ApiServerConfig(data, serving=ServingSettings(port=-1), encryption=EncryptionSettings(config))
    server = ApiServer(with_file)
    await server.start()
    import orjson

    from coxswain.client.interface import Call

    answer = await server.pipeline.call(
        Call("create", GVR("", "v1", "secrets"), "default", body=orjson.dumps(secret())), ADMIN
    )
    assert answer.code == 201, answer.body
    await server.stop()
    assert b"opensesame" not in (data / "store.db").read_bytes()
    with pytest.raises(ConfigurationError, match="--encryption-provider-config"):
        await ApiServer(ApiServerConfig(data, serving=ServingSettings(port=-1))).start()
    again = ApiServer(with_file)
    await again.start()
    await again.stop()
    assert os.path.exists(data)
