"""Settings of encryption at rest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class EncryptionSettings:
    """Which file says what is encrypted, and with what."""

    config_file: Path | None = None
    """An EncryptionConfiguration (YAML or JSON); None: objects are stored as they are."""
    automatic_reload: bool = False
    """Whether the file is read again when it has changed; else a change takes effect at the next start."""
    reload_interval: float = 60.0
    """Seconds between looks at the file; Kubernetes looks once a minute."""
