"""How answers begin: audit IDs that tell nobody anything."""

from __future__ import annotations

import itertools
import uuid

from coxswain.apiserver import answers
from coxswain.apiserver.answers import Openings


def _id(head: bytes) -> str:
    return head.split(b"Audit-Id: ")[1].split(b"\r\n")[0].decode()


def test_audit_ids_are_random_uuids() -> None:
    openings = Openings()
    ids = [_id(openings.head(200, "application/json", b"X: y\r\n")) for _ in range(3 * answers._TOGETHER)]
    assert len(set(ids)) == len(ids)
    assert all(str(uuid.UUID(each)) == each and uuid.UUID(each).version == 4 for each in ids)
    last = [int(each[24:], 16) for each in ids]
    # One that counts on would tell who asks twice how often others asked between.
    assert len({two - one for one, two in itertools.pairwise(last)}) == len(ids) - 1
    assert len({each[:24] for each in ids}) == 3


def test_the_id_of_the_audit_log_is_told_as_it_is() -> None:
    head = Openings().head(404, "text/plain", b"X: y\r\n", "my-id")
    assert head.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert head.endswith(b"Audit-Id: my-id\r\nX: y\r\n")
