r"""Calls that came in one message: those that only write one object are committed together.

    calls --begin, one after the other--> Write --+--> Storage.commit_each --> answers
                                                  |
          \--> the whole request, in a task  -----+--> answers

A burst of pods brings bindings and Events, a hundred to a message. A task for each, a commit for each and a wake-up
for each cost as much as the writes themselves. ``begin`` (of a verb that has one) does a request up to its commit
without waiting; where something has to be waited for after all, what is left is a coroutine, and has a task as ever.

Each write is still atomic and judged on its own. What loses against another write is done again, alone. Who may do
what is asked for each call, and each is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coxswain.api import errors
from coxswain.api.names import EVENTS, GVR, PODS
from coxswain.apiserver.conversion import ConversionPending
from coxswain.apiserver.failing import refusal
from coxswain.apiserver.handlers import binding, events
from coxswain.apiserver.metrics import Served
from coxswain.apiserver.request import Context, Core, Reply, Write
from coxswain.apiserver.verbs import writing
from coxswain.client.interface import Answer, Call, UserInfo
from coxswain.store.interface import CompareFailed, StoreError

if TYPE_CHECKING:
    from coxswain.apiserver.pipeline import Pipeline

Begin = Callable[[Core, Context], Write | Coroutine[Any, Any, Reply]]
_BEGIN: Final[dict[tuple[str, GVR, str], Begin]] = {
    ("create", PODS, "binding"): binding.begin,
    ("create", EVENTS, ""): events.begin,
}


#: Calls that are begun before others have their turn: some milliseconds.
_RUN: Final = 256


class _Begun(NamedTuple):
    """A write that waits for the others."""

    position: int
    call: Call
    served: Served
    write: Write


class Together:
    """The calls of one message, for one user."""

    def __init__(self, pipeline: Pipeline, user: UserInfo) -> None:
        self._pipeline = pipeline
        self._user = user
        self._begun: list[_Begun] = []
        self._answers: dict[int, Answer] = {}
        self._tasks: dict[int, asyncio.Task[Answer]] = {}

    async def answer(self, calls: Sequence[Call]) -> list[Answer]:
        """Every call answered, in order."""
        try:
            for position, call in enumerate(calls):
                begin = _BEGIN.get((call.verb, call.resource, call.subresource))
                if begin is not None:
                    self._begin(position, call, begin)
                elif not self._begin_create(position, call):
                    self._do(position, self._pipeline.call(call, self._user))
                if position % _RUN == _RUN - 1:
                    await asyncio.sleep(0)
            if self._begun:
                await self._commit()
            for position, task in self._tasks.items():
                self._answers[position] = await task
        finally:
            for task in self._tasks.values():
                task.cancel()
        return [self._answers[position] for position in range(len(calls))]

    def _do(self, position: int, answer: Coroutine[Any, Any, Answer]) -> asyncio.Task[Answer]:
        task = self._tasks[position] = asyncio.get_running_loop().create_task(answer)
        return task

    def _go_on(self, position: int, request: Coroutine[Any, Any, Reply], call: Call, served: Served) -> None:
        """Do what is left of a request; if the task is cancelled before it begins, that is closed, too."""
        task = self._do(position, self._answered(request, call, served))
        task.add_done_callback(lambda _: request.close())

    def _begin_create(self, position: int, call: Call) -> bool:
        """Begin to create what was created before but for its name; False where there is more to do."""
        try:
            write = self._pipeline.begin(call, self._user, user_agent=self._user.agent)
        except Exception:
            # The whole request is refused the same, and says so.
            return False
        if write is None:
            return False
        self._begun.append(_Begun(position, call, self._pipeline.served(call), write))
        return True

    def _begin(self, position: int, call: Call, begin: Begin) -> None:
        served = self._pipeline.served(call)
        try:
            begun = begin(
                self._pipeline.core, self._pipeline.context(call, self._user, self._user.agent, False)
            )
        except ConversionPending:
            self._do(position, self._pipeline.call(call, self._user))
            return
        except Exception as error:
            self._answers[position] = refusal(error, call, served)
            return
        if isinstance(begun, Write):
            self._begun.append(_Begun(position, call, served, begun))
        else:
            self._go_on(position, begun, call, served)

    async def _commit(self) -> None:
        writes = [(begun.write.op, begun.write.pending) for begun in self._begun]
        outcomes: Sequence[int | Exception]
        try:
            outcomes = await self._pipeline.core.storage.commit_each(writes)
        except (StoreError, errors.ApiError) as error:
            outcomes = [error] * len(writes)
        for (position, call, served, write), outcome in zip(self._begun, outcomes, strict=True):
            if isinstance(outcome, CompareFailed):
                self._go_on(position, write.again(), call, served)
                continue
            try:
                if isinstance(outcome, Exception):
                    raise writing.told(outcome)
                reply = write.reply()
            except Exception as error:
                self._answers[position] = refusal(error, call, served)
            else:
                served.count(reply.code)
                self._answers[position] = Answer(reply.code, reply.body)

    async def _answered(self, request: Coroutine[Any, Any, Reply], call: Call, served: Served) -> Answer:
        try:
            reply = await request
        except ConversionPending:
            return await self._pipeline.call(call, self._user)
        except Exception as error:
            return refusal(error, call, served)
        served.count(reply.code)
        return Answer(reply.code, reply.body)
