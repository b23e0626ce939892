"""Conformance entries of the areas in scope that no test of ours covers, each with its reason."""

from __future__ import annotations

EXCEPTED: dict[str, str] = {}
