"""The addresses of services, as the API server is told them."""

from __future__ import annotations

import argparse

import pytest

from coxswain.cli import component_apiserver

TWO = "10.96.0.0/16,fd00:10:96::/112"


@pytest.mark.parametrize(
    ("arguments", "ranges"),
    [
        ([], "10.96.0.0/16"),
        ([f"--service-cluster-ip-range={TWO}"], TWO),
        (["--service-cidr", "10.0.0.0/24"], "10.0.0.0/24"),
    ],
)
def test_service_networks_go_by_kubernetes_flag(arguments: list[str], ranges: str) -> None:
    parser = argparse.ArgumentParser()
    component_apiserver.configure(parser)
    assert parser.parse_args(["--data-dir", "d", *arguments]).service_cidr == ranges
