"""Addresses of pods."""

from __future__ import annotations

from coxswain.kubelet.runtime.process import network


def test_an_address_has_one_hardware_address_whoever_owns_it() -> None:
    assert network._hardware_address("10.244.0.2") == "0a:58:0a:f4:00:02"
