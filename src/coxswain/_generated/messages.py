"""Message classes of ``coxswain.v1``, and the gRPC method paths.

    from coxswain._generated import messages
    messages.CallBatch(id=1, calls=[messages.Call(verb="get", ...)]).SerializeToString()

For type checkers the classes are spelled out below; at run time they come from the descriptors. Field
``continue`` of ListChunk is a Python keyword: use ``getattr`` and ``**{"continue": ...}``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from coxswain._generated.descriptors import FILES

PACKAGE = "coxswain.v1"
SERVICE = f"{PACKAGE}.Api"
EXCHANGE, LIST, WATCH = (f"/{SERVICE}/{method}" for method in ("Exchange", "List", "Watch"))

_pool = descriptor_pool.DescriptorPool()
for _data in FILES.values():
    _pool.Add(descriptor_pb2.FileDescriptorProto.FromString(_data))


def message(name: str) -> Any:
    """The class of a message by its full name, ``coxswain.v1.Call``."""
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(name))


if TYPE_CHECKING:
    from collections.abc import MutableMapping, MutableSequence
    from typing import Self

    class _Message:
        def __init__(self, **fields: Any) -> None: ...
        def SerializeToString(self) -> bytes: ...  # noqa: N802 (protobuf's names)
        @classmethod
        def FromString(cls, data: bytes) -> Self: ...  # noqa: N802
        def HasField(self, name: str) -> bool: ...  # noqa: N802
        def ByteSize(self) -> int: ...  # noqa: N802

    class Call(_Message):
        verb: str
        group: str
        version: str
        resource: str
        namespace: str
        name: str
        subresource: str
        query: MutableMapping[str, str]
        content_type: str
        body: bytes
        accept: str

    class Answer(_Message):
        code: int
        body: bytes

    class CallBatch(_Message):
        id: int
        calls: MutableSequence[Call]

    class AnswerBatch(_Message):
        id: int
        answers: MutableSequence[Answer]

    class ListChunk(_Message):
        items: MutableSequence[bytes]
        resource_version: str
        remaining: int
        failure: Answer

    class WatchEvent(_Message):
        type: int
        object: bytes

    class WatchBatch(_Message):
        events: MutableSequence[WatchEvent]

else:
    Call = message(f"{PACKAGE}.Call")
    Answer = message(f"{PACKAGE}.Answer")
    CallBatch = message(f"{PACKAGE}.CallBatch")
    AnswerBatch = message(f"{PACKAGE}.AnswerBatch")
    ListChunk = message(f"{PACKAGE}.ListChunk")
    WatchEvent = message(f"{PACKAGE}.WatchEvent")
    WatchBatch = message(f"{PACKAGE}.WatchBatch")

#: WatchEvent.Type by name and by number.
EVENT_NUMBERS = {"UNKNOWN": 0, "ADDED": 1, "MODIFIED": 2, "DELETED": 3, "BOOKMARK": 4, "ERROR": 5}
EVENT_NAMES = {number: name for name, number in EVENT_NUMBERS.items()}
