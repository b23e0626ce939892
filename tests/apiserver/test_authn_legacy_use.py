"""Uses of tokens of the old kind are written down: once a day, beside the request, with no harm when it fails."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from coxswain.api import errors
from coxswain.apiserver.authn.legacy_use import LAST_USED, LegacyTokenUse
from coxswain.base import clock
from coxswain.client.interface import Answer, Call, UserInfo


class Doer:
    """Remembers what was asked; fails as often as told."""

    def __init__(self, failures: int = 0) -> None:
        self.calls: list[Call] = []
        self._failures = failures

    async def call(self, call: Call, user: UserInfo) -> Answer:
        self.calls.append(call)
        await clock.sleep(0.1)
        if self._failures:
            self._failures -= 1
            raise errors.ServiceUnavailable("not now")
        return Answer(200, b"{}")


def secret(**labels: str) -> dict[str, Any]:
    return {"metadata": {"name": "t", "namespace": "d", "uid": "u", "labels": labels}}


@pytest.mark.virtual
async def test_a_use_is_written_once_a_day() -> None:
    doer, use = Doer(), LegacyTokenUse()
    use.note(secret())  # too early: nobody is there to write it
    use.write_through(doer)
    for _ in range(3):
        use.note(secret())
    await clock.sleep(1)
    [call] = doer.calls
    today = clock.timestamp().partition("T")[0]
    assert (call.verb, call.namespace, call.name) == ("patch", "d", "t")
    assert orjson.loads(call.body)["metadata"] == {"uid": "u", "labels": {LAST_USED: today}}
    use.note(secret(**{LAST_USED: today}))
    await clock.sleep(86400)
    assert len(doer.calls) == 1
    use.note(secret(**{LAST_USED: today}))
    await clock.sleep(1)
    assert len(doer.calls) == 2


@pytest.mark.virtual
async def test_what_failed_is_tried_at_the_next_use() -> None:
    doer, use = Doer(failures=1), LegacyTokenUse()
    use.write_through(doer)
    use.note(secret())
    await clock.sleep(1)
    use.note(secret())
    await clock.sleep(1)
    assert len(doer.calls) == 2
    use.note(secret())
    await use.close()
