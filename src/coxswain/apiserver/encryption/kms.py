"""Keys that a KMS plugin keeps (KMS v2): the plugin encrypts one seed, the seed derives the key of each value.

    start            Status, a fresh seed, Encrypt(seed)  -> state: key id, encrypted seed
    every minute     Status: the same key id prolongs the state, another one makes a new seed (ten seconds when it failed)
    seal             with the seed of the state; refused once the plugin has not been well for three minutes
    prepare, open    Decrypt(encrypted seed) once for each seed that is met, then as seal does

The plugin is asked over a Unix socket by gRPC (package ``v2`` of k8s.io/kms). What is stored is an ``EncryptedObject``.
A value is stale when its key id is not that of the state.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coxswain.apiserver.encryption.ciphers import SEED_SIZE, AesGcm, Cipher, DerivedGcm, TransformError
from coxswain.apiserver.encryption.configuration import KmsConfiguration
from coxswain.base import clock
from coxswain.base.errors import ResourceUnavailable
from coxswain.base.tasks import cancel_and_wait

if TYPE_CHECKING:
    import grpc.aio

log = logging.getLogger(__name__)

_SERVICE = "/v2.KeyManagementService/"
_KEY, _SEED = 0, 1
#: Seconds between looks at a plugin that is well, and at one that is not.
_POSITIVE_INTERVAL, _NEGATIVE_INTERVAL = 60.0, 10.0
#: Seconds that values may be written after the plugin was last well.
_WRITE_FOR = 180.0
_MOST_KEY_ID = _MOST_SOURCE = 1024
_MOST_ANNOTATIONS = 32 << 10
#: Seeds that are remembered; a cluster has about one for each key id and start of a server.
_MOST_SEEDS = 4096


@dataclass(frozen=True, slots=True)
class _State:
    """What values are written with. ``good_until`` is of ``clock.monotonic``."""

    cipher: Cipher
    key_id: str
    source: bytes
    annotations: Mapping[str, bytes]
    good_until: float


class KmsProvider:
    """See the module's text. ``start`` before use, ``close`` at the end."""

    def __init__(self, configuration: KmsConfiguration) -> None:
        self.name = configuration.name
        self.prefix = f"k8s:enc:kms:v2:{configuration.name}:".encode()
        #: What is wrong with the plugin; empty when it is well.
        self.problem = "the plugin has not been asked yet"
        self._configuration = configuration
        self._channel: grpc.aio.Channel | None = None
        self._state: _State | None = None
        self._seeds: dict[tuple[object, ...], Cipher | str] = {}
        self._watching: asyncio.Task[None] | None = None

    # -- life

    async def start(self) -> None:
        """Get a key to write with. Raises ``ResourceUnavailable`` when the plugin does not give one."""
        import grpc.aio

        if self._channel is not None:
            return
        self._channel = grpc.aio.insecure_channel(f"unix:{self._configuration.socket}")
        await self._look()
        if self._state is None:
            await self.close()
            raise ResourceUnavailable(f"kmsv2 Provider {self.name} is not healthy, error: {self.problem}")
        self._watching = asyncio.get_running_loop().create_task(self._watch(), name=f"kms {self.name}")

    async def close(self) -> None:
        """Ask the plugin no longer. Idempotent."""
        if self._watching is not None:
            await cancel_and_wait(self._watching)
            self._watching = None
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def _watch(self) -> None:
        while True:
            await clock.sleep(_NEGATIVE_INTERVAL if self.problem else _POSITIVE_INTERVAL)
            await self._look()

    async def _look(self) -> None:
        """Ask for the plugin's status; take a new seed if it has another key."""
        import grpc

        until = clock.monotonic() + _WRITE_FOR
        try:
            status = await self._call("Status", "StatusRequest", "StatusResponse")
            _check_status(status)
            if self._state is None or self._state.key_id != status.key_id:
                self._state = await self._new_state(status.key_id, until)
            else:
                state = self._state
                self._state = _State(state.cipher, state.key_id, state.source, state.annotations, until)
            self.problem = ""
        except TransformError as error:
            self.problem = str(error)
        except grpc.RpcError as error:
            self.problem = f"{error.code().name}: {error.details()}" if hasattr(error, "code") else str(error)
        if self.problem:
            log.error("kmsv2 Provider %s is not healthy, error: %s", self.name, self.problem)

    async def _new_state(self, key_id: str, until: float) -> _State:
        seed = os.urandom(SEED_SIZE)
        answer = await self._call("Encrypt", "EncryptRequest", "EncryptResponse", plaintext=seed, uid=_uid())
        annotations = dict(answer.annotations)
        _check_object(answer.key_id, answer.ciphertext, annotations, _SEED)
        if answer.key_id != key_id:
            raise TransformError("failed to rotate DEK: the key ID of Status is not that of Encrypt")
        state = _State(DerivedGcm(seed), key_id, answer.ciphertext, annotations, until)
        self._remember(_identity(_SEED, answer.ciphertext, key_id, annotations), state.cipher)
        return state

    async def _call(self, method: str, request: str, answer: str, **fields: Any) -> Any:
        from coxswain._generated.messages import message

        assert self._channel is not None
        made = message(f"v2.{request}")(**fields)
        call: grpc.aio.UnaryUnaryMultiCallable[Any, Any] = self._channel.unary_unary(
            _SERVICE + method,
            request_serializer=lambda value: value.SerializeToString(),
            response_deserializer=message(f"v2.{answer}").FromString,
        )
        return await call(made, timeout=self._configuration.timeout)

    # -- values

    @property
    def label(self) -> str:
        """The label of what is written now."""
        return f"kms:{self.name}:{_SEED}:{self._state.key_id if self._state else ''}"

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """Raises ``TransformError`` when the plugin has not been well for too long."""
        state = self._state
        if state is None or clock.monotonic() > state.good_until:
            raise TransformError(f"EncryptedDEKSource with KMS provider {self.name} expired: {self.problem}")
        value = _object_class()(
            encrypted_data=state.cipher.seal(plain, context),
            key_id=state.key_id,
            encrypted_dek_source=state.source,
            annotations=state.annotations,
            dek_source_type=_SEED,
        )
        return bytes(value.SerializeToString())

    def open(self, body: bytes, context: bytes) -> tuple[bytes, str]:
        """Raises ``TransformError``; ``prepare`` must have seen the value."""
        value = _parsed(body)
        cipher = self._seeds.get(_identity_of(value), "the key of the value has not been asked for")
        if isinstance(cipher, str):
            raise TransformError(f"failed to decrypt DEK, error: {cipher}")
        label = f"kms:{self.name}:{value.dek_source_type}:{value.key_id}"
        return cipher.open(value.encrypted_data, context), label

    async def prepare(self, values: Iterable[bytes]) -> None:
        """Have the plugin decrypt the seeds of those of ``values`` (with prefix) that it has to know."""
        import grpc

        start = len(self.prefix)
        for data in values:
            if not data.startswith(self.prefix):
                continue
            try:
                value = _parsed(data[start:])
            except TransformError:
                continue  # ``open`` says it
            identity = _identity_of(value)
            if not isinstance(self._seeds.get(identity, ""), str):
                continue
            try:
                answer = await self._call(
                    "Decrypt",
                    "DecryptRequest",
                    "DecryptResponse",
                    ciphertext=value.encrypted_dek_source,
                    uid=_uid(),
                    key_id=value.key_id,
                    annotations=dict(value.annotations),
                )
                known = value.dek_source_type == _KEY
                self._remember(identity, AesGcm(answer.plaintext) if known else DerivedGcm(answer.plaintext))
            except (grpc.RpcError, TransformError, ValueError) as error:
                details = getattr(error, "details", None)
                self._remember(identity, str(details() if details is not None else error))

    def _remember(self, identity: tuple[object, ...], cipher: Cipher | str) -> None:
        if len(self._seeds) >= _MOST_SEEDS:
            del self._seeds[next(iter(self._seeds))]
        self._seeds[identity] = cipher


def _object_class() -> Any:
    from coxswain._generated.messages import message

    return message("v2.EncryptedObject")


def _parsed(body: bytes) -> Any:
    from google.protobuf.message import DecodeError

    try:
        value = _object_class().FromString(body)
    except DecodeError as error:
        raise TransformError(f"proto: {error}") from None
    _check_object(value.key_id, value.encrypted_dek_source, value.annotations, value.dek_source_type)
    if not value.encrypted_data:
        raise TransformError("encrypted data is empty")
    return value


def _identity_of(value: Any) -> tuple[object, ...]:
    return _identity(value.dek_source_type, value.encrypted_dek_source, value.key_id, dict(value.annotations))


def _identity(kind: int, source: bytes, key_id: str, annotations: Mapping[str, bytes]) -> tuple[object, ...]:
    """What tells one seed from another."""
    return kind, source, key_id, tuple(sorted(annotations.items()))


def _check_status(status: Any) -> None:
    if status.healthz != "ok":
        raise TransformError(f"got unexpected healthz status: {status.healthz}")
    if status.version not in ("v2", "v2beta1"):
        raise TransformError(f"expected KMSv2 API version v2, got {status.version}")
    _check_key_id(status.key_id)


def _check_key_id(key_id: str) -> None:
    if not key_id:
        raise TransformError("failed to validate key id: keyID is empty")
    if len(key_id.encode()) > _MOST_KEY_ID:
        why = f"keyID is {len(key_id)} bytes, which exceeds the max size of {_MOST_KEY_ID}"
        raise TransformError(f"failed to validate key id: {why}")


def _check_object(key_id: str, source: bytes, annotations: Mapping[str, bytes], kind: int) -> None:
    if kind not in (_KEY, _SEED):
        raise TransformError(f"unknown encryptedDEKSourceType: {kind}")
    wrong = "failed to validate encrypted DEK source: encrypted DEK source is "
    if not source:
        raise TransformError(f"{wrong}empty")
    if len(source) > _MOST_SOURCE:
        raise TransformError(f"{wrong}{len(source)} bytes, which exceeds the max size of {_MOST_SOURCE}")
    _check_key_id(key_id)
    size = sum(len(name.encode()) + len(value) for name, value in annotations.items())
    if size > _MOST_ANNOTATIONS:
        why = f"total size of annotations is {size}, which exceeds the max size of {_MOST_ANNOTATIONS}"
        raise TransformError(f"failed to validate annotations: {why}")


def _uid() -> str:
    """Names a call in the plugin's log."""
    return os.urandom(16).hex()
