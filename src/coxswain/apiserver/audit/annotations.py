"""What takes part in a request may say something about it in the audit log.

    annotate("podsecurity.kubernetes.io/enforce-policy", "restricted:latest")

Costs next to nothing where the request is not audited. A key that was set already keeps its first value, as in
Kubernetes.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar

log = logging.getLogger(__name__)

#: The annotations of the request that this task works on; None where it is not audited.
CURRENT: ContextVar[dict[str, str] | None] = ContextVar("audit_annotations", default=None)


def annotate(key: str, value: str) -> None:
    """Add an annotation to the audit events of the request at work, if they are written at all."""
    annotations = CURRENT.get()
    if annotations is None:
        return
    if annotations.setdefault(key, value) != value:
        log.warning("the audit annotation %s was set already: its first value stays", key)
