"""Settings of the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """What is logged where. Without ``policy_file`` nothing is."""

    policy_file: Path | None = None
    """An audit.k8s.io/v1 Policy."""
    log_path: str = ""
    """File for events, one JSON object a line; ``-`` is standard output, empty none."""
    log_max_age: int = 0
    """Days that rotated files are kept; 0 for ever."""
    log_max_backups: int = 0
    """How many rotated files are kept; 0 all."""
    log_max_size: int = 100
    """Megabytes at which the file is rotated; Kubernetes' default."""
    webhook_config_file: Path | None = None
    """A kubeconfig that says which server gets the events."""
    webhook_buffer: int = 10_000
    """Events that may wait to be sent; more are dropped and counted."""
    webhook_batch_events: int = 400
    """Events in one request at most."""
    webhook_batch_wait: float = 30.0
    """Seconds that an event waits for others to go with it."""
    webhook_initial_backoff: float = 10.0
    """Seconds to wait before what could not be sent is sent again; doubled each time, five times."""

    @property
    def enabled(self) -> bool:
        """Whether there is anything to do."""
        return self.policy_file is not None and bool(self.log_path or self.webhook_config_file)
