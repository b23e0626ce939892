"""Flags of ``cox controller-manager``: what they mean to the controllers."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from coxswain.cli import component_controllers
from coxswain.controllers import registry


def parse(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    component_controllers.configure(parser)
    return parser.parse_args(flags)


def test_concurrency_is_set_for_known_controllers_only_where_asked_for() -> None:
    assert set(component_controllers._CONCURRENCY.values()) <= set(registry.names())
    assert component_controllers._workers(parse()) == {}
    found = component_controllers._workers(parse("--concurrent-gc-syncs=20", "--concurrent-rc-syncs=1"))
    assert found == {"garbage-collector-controller": 20, "replicationcontroller-controller": 1}


@pytest.mark.parametrize("number", ["0", "-3", "many"])
def test_a_number_of_workers_that_cannot_be_meant_is_refused(number: str) -> None:
    with pytest.raises(SystemExit):
        parse(f"--concurrent-job-syncs={number}")


def test_options_are_given_to_the_controllers_that_they_are_for() -> None:
    found = component_controllers._options(
        parse("--service-account-private-key-file=/k", "--cluster-cidr=10.0.0.0/8")
    )
    assert found["serviceaccount-token-controller"] == {"service_account_private_key_file": "/k"}
    assert found["node-ipam-controller"] == {"cluster_cidr": "10.0.0.0/8"}


def test_an_unknown_controller_is_named_and_the_process_ends(tmp_path: object) -> None:
    kubeconfig = f"{tmp_path}/kubeconfig"
    with open(kubeconfig, "w") as file:
        file.write(
            "current-context: c\ncontexts: [{name: c, context: {cluster: c}}]\n"
            "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n"
        )
    command = [sys.executable, "-m", "coxswain.cli.main", "controller-manager"]
    done = subprocess.run(
        [*command, f"--kubeconfig={kubeconfig}", "--controllers=*,-no-such"],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert '"no-such" is not in the list of known controllers' in done.stderr
