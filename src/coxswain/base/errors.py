"""The error tree of Coxswain itself.

CoxswainError                 anything that we raise on purpose
  ConfigurationError          a flag, file or environment that cannot work; says what to change
  ResourceUnavailable         something outside is missing or taken: a port, a disk, a lock, a peer
  InvariantError              our own bug: a state that the design says cannot be; carries its story
  coxswain.api.errors.ApiError    what an API server answers (a Kubernetes Status)
  coxswain.store.interface.StoreError

A message is one sentence that names the thing, what is wrong and, where one exists, the way out.
"""

from __future__ import annotations


class CoxswainError(Exception):
    """Base of all errors raised on purpose. ``str(error)`` is fit to be shown to a user."""


class ConfigurationError(CoxswainError):
    """A setting, flag or file that cannot work. The message says which, and what to do."""


class ResourceUnavailable(CoxswainError):
    """Something outside of us is missing, taken or full (a port, a disk, a lock, a peer)."""


class InvariantError(CoxswainError):
    """A state that must not exist. ``story`` holds what led to it, oldest first."""

    def __init__(self, message: str, story: list[str] | None = None) -> None:
        super().__init__(message)
        self.story = story or []

    def __str__(self) -> str:
        lines = [super().__str__(), *(f"  {line}" for line in self.story)]
        return "\n".join(lines)
