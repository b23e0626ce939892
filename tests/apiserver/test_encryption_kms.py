"""Encryption at rest with keys of a KMS plugin, which is a small gRPC server on a Unix socket here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from coxswain._generated.messages import message
from coxswain.apiserver.encryption.ciphers import TransformError
from coxswain.apiserver.encryption.configuration import KmsConfiguration
from coxswain.apiserver.encryption.kms import KmsProvider
from coxswain.apiserver.encryption.providers import Identity, Transformer
from coxswain.apiserver.encryption.resources import Transformers
from coxswain.apiserver.encryption.sealedstore import EncryptedStore
from coxswain.base.errors import ResourceUnavailable
from coxswain.store.interface import Op
from coxswain.store.memory import MemoryStore

CONTEXT = b"/registry/secrets/default/token"


class Plugin:
    """Keeps no secret at all: what it encrypts is turned round, with the key's name in front."""

    def __init__(self) -> None:
        self.key_id = "one"
        self.healthz = "ok"
        self.decrypted: list[str] = []

    async def status(self, request: Any, context: Any) -> Any:
        return message("v2.StatusResponse")(version="v2", healthz=self.healthz, key_id=self.key_id)

    async def encrypt(self, request: Any, context: Any) -> Any:
        sealed = self.key_id.encode() + b":" + request.plaintext[::-1]
        return message("v2.EncryptResponse")(
            ciphertext=sealed, key_id=self.key_id, annotations={"a.example.com": b"1"}
        )

    async def decrypt(self, request: Any, context: Any) -> Any:
        name, _, rest = request.ciphertext.partition(b":")
        assert dict(request.annotations) == {"a.example.com": b"1"} and name.decode() == request.key_id
        self.decrypted.append(request.key_id)
        if request.key_id == "lost":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such key")
        return message("v2.DecryptResponse")(plaintext=rest[::-1])


@asynccontextmanager
async def plugin(socket: Path) -> AsyncIterator[Plugin]:
    one = Plugin()
    server = grpc.aio.server()
    methods = {
        name: grpc.unary_unary_rpc_method_handler(
            handler, message(f"v2.{name}Request").FromString, lambda value: value.SerializeToString()
        )
        for name, handler in (("Status", one.status), ("Encrypt", one.encrypt), ("Decrypt", one.decrypt))
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("v2.KeyManagementService", methods),)
    )
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield one
    finally:
        await server.stop(None)


@asynccontextmanager
async def provider(socket: Path) -> AsyncIterator[KmsProvider]:
    one = KmsProvider(KmsConfiguration("vault", str(socket), timeout=2.0))
    await one.start()
    try:
        yield one
    finally:
        await one.close()


async def test_values_are_envelopes_that_another_server_opens_with_the_plugins_help(tmp_path: Path) -> None:
    socket = tmp_path / "kms.sock"
    async with plugin(socket) as fake:
        async with provider(socket) as writer:
            sealed = Transformer([writer]).seal(b'{"a":1}', CONTEXT)
            assert sealed.startswith(b"k8s:enc:kms:v2:vault:") and b'{"a":1}' not in sealed
            envelope = message("v2.EncryptedObject").FromString(sealed.removeprefix(writer.prefix))
            assert (envelope.key_id, envelope.dek_source_type) == ("one", 1)
            assert Transformer([writer]).open(sealed, CONTEXT)[0] == b'{"a":1}'
            assert fake.decrypted == []
        async with provider(socket) as reader:
            with pytest.raises(TransformError):
                Transformer([reader]).open(sealed, CONTEXT)
            for _ in range(3):
                await reader.prepare([sealed, b"plain"])
            assert Transformer([reader]).open(sealed, CONTEXT)[0] == b'{"a":1}'
            with pytest.raises(TransformError):
                Transformer([reader]).open(sealed, b"/registry/secrets/default/other")
        assert fake.decrypted == ["one"]


async def test_another_key_of_the_plugin_makes_values_stale(tmp_path: Path) -> None:
    socket = tmp_path / "kms.sock"
    async with plugin(socket) as fake, provider(socket) as one:
        transformer = Transformer([one])
        old = transformer.seal(b"{}", CONTEXT)
        assert transformer.open(old, CONTEXT)[1] == transformer.label
        fake.key_id = "two"
        await one._look()
        assert transformer.open(old, CONTEXT)[1] != transformer.label
        assert transformer.open(transformer.seal(b"{}", CONTEXT), CONTEXT)[1] == transformer.label


async def test_a_plugin_that_is_not_well_is_reported_and_its_last_key_is_used(tmp_path: Path) -> None:
    socket = tmp_path / "kms.sock"
    async with plugin(socket) as fake, provider(socket) as one:
        fake.healthz = "tired"
        await one._look()
        assert one.problem == "got unexpected healthz status: tired"
        Transformer([one]).seal(b"{}", CONTEXT)
        fake.healthz = "ok"
        await one._look()
        assert one.problem == ""


async def test_without_its_plugin_a_server_does_not_start(tmp_path: Path) -> None:
    one = KmsProvider(KmsConfiguration("vault", str(tmp_path / "nobody.sock"), timeout=0.5))
    with pytest.raises(ResourceUnavailable, match="kmsv2 Provider vault is not healthy"):
        await one.start()


async def test_a_store_asks_for_the_keys_of_what_it_lists_and_notes_those_that_are_lost(
    tmp_path: Path,
) -> None:
    socket = tmp_path / "kms.sock"
    below = MemoryStore()
    async with plugin(socket) as fake:
        for name, key in (("a", "one"), ("b", "lost")):
            fake.key_id = key
            async with provider(socket) as one:
                store = EncryptedStore(below, Transformers({("", "secrets"): Transformer([one])}, (one,)))
                await store.commit([Op(f"/registry/secrets/default/{name}", b'{"a":1}')])
        fake.key_id = "three"
        async with provider(socket) as one:
            rules = {("", "secrets"): Transformer([one, Identity()])}
            store = EncryptedStore(below, Transformers(rules, (one,)))
            page = await store.list("/registry/")
            assert [entry.value for entry in page.entries] == [b'{"a":1}']
            assert store.unreadable == {
                "/registry/secrets/default/b": "failed to decrypt DEK, error: no such key"
            }
            assert store.is_stale("/registry/secrets/default/a")
