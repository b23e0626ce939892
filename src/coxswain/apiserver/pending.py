"""Decisions that somebody outside has to make first: ``Pending``.

Authentication and authorization are synchronous and answered from memory. Some need an answer from outside
(a webhook, a provider's keys). Then the decision raises ``Pending``; whoever runs the request awaits
``answer`` and begins again, and the second time the answer is remembered.

    decide() -> result                       from memory
    decide() raises Pending -> await pending.answer() -> decide() again

Nothing has been changed when ``Pending`` is raised, so to begin again is safe.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

Result = TypeVar("Result")

#: How often one request may begin again. Each time another question was answered; a request asks but a few.
ATTEMPTS = 64


class Pending(Exception):
    """Raised instead of a decision. Never reaches a client."""

    def __init__(self, answer: Callable[[], Awaitable[None]]) -> None:
        """``answer`` returns once the answer is remembered; it raises ``ApiError`` where there will be none."""
        super().__init__("an answer from outside is needed")
        self.answer = answer


async def decided(decide: Callable[[], Result]) -> Result:
    """The result of ``decide``, after everything that it has to wait for. Raises what it raises."""
    for _ in range(ATTEMPTS):
        try:
            return decide()
        except Pending as pending:
            await pending.answer()
    return decide()
