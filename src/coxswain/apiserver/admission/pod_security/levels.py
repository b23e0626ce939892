"""From a namespace's labels to the policy that holds in it.

Bad labels never open a door: an unknown enforce level means restricted, an unknown version the latest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from coxswain.api import fields

PREFIX = "pod-security.kubernetes.io/"
PRIVILEGED, BASELINE, RESTRICTED = "privileged", "baseline", "restricted"
LEVELS = (PRIVILEGED, BASELINE, RESTRICTED)

#: A minor version of Kubernetes 1.x; the latest is newer than all.
LATEST = 1 << 30

_VERSION = re.compile(r"v1\.(0|[1-9][0-9]*)\Z")


class LevelVersion(NamedTuple):
    """``baseline:v1.30``, ``restricted:latest``."""

    level: str = PRIVILEGED
    version: int = LATEST

    def __str__(self) -> str:
        return f"{self.level}:{'latest' if self.version == LATEST else f'v1.{self.version}'}"


@dataclass(frozen=True, slots=True)
class Policy:
    """What a namespace enforces, audits and warns of."""

    enforce: LevelVersion
    audit: LevelVersion
    warn: LevelVersion

    @property
    def privileged(self) -> bool:
        """Whether anything goes."""
        return self.enforce.level == self.audit.level == self.warn.level == PRIVILEGED


#: What holds where labels say nothing and nobody configured anything else.
OPEN = Policy(LevelVersion(), LevelVersion(), LevelVersion())


def policy_of(labels: Mapping[str, str], defaults: Policy = OPEN) -> tuple[Policy, fields.Errors]:
    """The policy of a namespace with ``labels``, and what is wrong with them."""
    if not labels:
        return defaults, []
    problems: fields.Errors = []
    parts: dict[str, LevelVersion] = {}
    for mode, part in (("enforce", defaults.enforce), ("audit", defaults.audit), ("warn", defaults.warn)):
        level, version = labels.get(PREFIX + mode), labels.get(f"{PREFIX}{mode}-version")
        if level is not None:
            known = level in LEVELS
            if not known:
                problems.append(_problem(mode, level, f"must be one of {', '.join(LEVELS)}"))
            part = part._replace(level=level if known else (RESTRICTED if mode == "enforce" else PRIVILEGED))
        if version is not None:
            part = part._replace(version=_parse(mode, version, problems))
        parts[mode] = part
    policy = Policy(**parts)
    # Who enforces a level without saying what to warn of is warned (of workloads) by the same level.
    stricter = LEVELS.index(policy.enforce.level) > LEVELS.index(policy.warn.level)
    if stricter and PREFIX + "warn" not in labels and labels.get(PREFIX + "enforce") in LEVELS:
        versioned = PREFIX + "warn-version" in labels
        version_number = policy.warn.version if versioned else policy.enforce.version
        policy = replace(policy, warn=LevelVersion(policy.enforce.level, version_number))
    return policy, problems


def _parse(mode: str, version: str, problems: fields.Errors) -> int:
    if version == "latest":
        return LATEST
    match = _VERSION.match(version)
    if match is None:
        problems.append(_problem(f"{mode}-version", version, 'must be "latest" or "v1.x"'))
        return LATEST
    return int(match[1])


def _problem(label: str, value: str, why: str) -> fields.FieldError:
    return fields.invalid(fields.key("metadata.labels", PREFIX + label), value, why)
