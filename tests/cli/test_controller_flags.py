"""Flags of ``cox controller-manager``: what they mean to the controllers."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coxswain.cli import component_controllers
from coxswain.cli.main import main
from coxswain.controllers import registry
from coxswain.controllers.manager import Manager
from fakeapi import FakeApi


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


KUBECONFIG = """
current-context: c
contexts: [{name: c, context: {cluster: c}}]
clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]
"""


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--cluster-cidr=nonsense"], "cluster CIDR 'nonsense': "),
        (["--cluster-cidr=10.0.0.0/16", "--node-cidr-mask-size=99"], "node CIDR mask size 99 does not fit"),
        (["--cluster-signing-cert-file=no-file"], "takes both a certificate file and a key file"),
        (
            ["--cluster-signing-cert-file=no-file", "--cluster-signing-key-file=x"],
            "cluster signing file no-file: ",
        ),
        (["--service-account-private-key-file=no-file"], "service account private key no-file: "),
        (["--service-account-private-key-file={garbage}"], "is no PEM private key"),
        (
            ["--cluster-signing-cert-file={garbage}", "--cluster-signing-key-file={garbage}"],
            "signing certificate or key: ",
        ),
        (["--secure-port=0", "--tls-cert-file=no-file"], "cannot serve TLS with no-file: No such file"),
    ],
)
def test_what_no_controller_can_work_with_ends_the_process_at_the_start(
    flags: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kubeconfig").write_text(KUBECONFIG)
    (tmp_path / "garbage").write_text("-----BEGIN NOTHING-----")
    given = [flag.format(garbage=tmp_path / "garbage") for flag in flags]
    assert main(["controller-manager", f"--kubeconfig={tmp_path / 'kubeconfig'}", *given]) == 1
    assert said in capsys.readouterr().err


def test_options_of_a_controller_that_does_not_run_do_not_matter(tmp_path: Path) -> None:
    options = {"node-ipam-controller": {"cluster_cidr": "nonsense"}}
    client: Any = FakeApi().client()
    assert Manager(client, "job-controller", options).names == ("job-controller",)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("15", 15.0), ("1.5", 1.5), ("15s", 15.0), ("1m30s", 90.0), ("8760h0m0s", 31536000.0)],
)
def test_times_are_seconds_or_as_kubernetes_writes_them(text: str, wanted: float) -> None:
    assert parse(f"--leader-elect-lease-duration={text}").leader_elect_lease_duration == wanted
    assert parse(f"--cluster-signing-duration={text}").cluster_signing_duration == wanted


@pytest.mark.parametrize(
    "flag",
    [
        *(f"--leader-elect-retry-period={text}" for text in ("", "soon", "-1", "nan", "inf", "5x", "1s2")),
        *(f"--secure-port={text}" for text in ("99999", "-2", "https", "65536")),
        "--concurrent-job-syncs=x",
    ],
)
def test_values_that_make_no_sense_are_refused_in_words(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(flag)
    assert "invalid _" not in capsys.readouterr().err
