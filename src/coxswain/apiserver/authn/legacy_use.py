"""Writes down on which day a token of the old kind was last used: a label of its secret, once a day.

The controller manager's cleaner reads it: what nobody has used for a year is invalidated. That requests wait for
nothing, the label is written beside them; what fails is tried again at the token's next use.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

import orjson

from coxswain.api import meta
from coxswain.api.errors import ApiError
from coxswain.api.names import SECRETS, Object
from coxswain.base import clock
from coxswain.base.tasks import cancel_and_wait
from coxswain.client.interface import MERGE_PATCH, Answer, Call, UserInfo

log = logging.getLogger(__name__)

LAST_USED = "kubernetes.io/legacy-token-last-used"
_WRITER = UserInfo("system:apiserver", ("system:masters", "system:authenticated"), agent="kube-apiserver")


class Doer(Protocol):
    """The pipeline, as far as it is needed here."""

    async def call(self, call: Call, user: UserInfo) -> Answer: ...


class LegacyTokenUse:
    """Notes uses; until it knows the pipeline, it notes nothing."""

    def __init__(self) -> None:
        self._doer: Doer | None = None
        self._writing: dict[str, asyncio.Task[None]] = {}

    def write_through(self, doer: Doer) -> None:
        """From now on, write labels with ``doer``."""
        self._doer = doer

    def note(self, secret: Object) -> None:
        """The token of ``secret`` was used just now."""
        today = clock.timestamp().partition("T")[0]
        key = meta.key(secret)
        if self._doer is None or meta.labels(secret).get(LAST_USED) == today or key in self._writing:
            return
        work = self._write(self._doer, secret, today)
        task = asyncio.get_running_loop().create_task(work, name=f"use of token {key}")
        self._writing[key] = task
        task.add_done_callback(lambda _: self._writing.pop(key, None))

    async def close(self) -> None:
        """Give up what is being written."""
        for task in list(self._writing.values()):
            await cancel_and_wait(task)

    async def _write(self, doer: Doer, secret: Object, today: str) -> None:
        change = {"metadata": {"uid": meta.uid(secret), "labels": {LAST_USED: today}}}
        call = Call(
            "patch",
            SECRETS,
            meta.namespace(secret),
            meta.name(secret),
            body=orjson.dumps(change),
            content_type=MERGE_PATCH,
        )
        try:
            (await doer.call(call, _WRITER)).object()
        except ApiError as error:
            log.warning("the use of token %s could not be written down: %s", meta.key(secret), error)
