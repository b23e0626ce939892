"""Mistakes in a scheduler's configuration file are told with the file and the place, whichever command reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from coxswain.cli.main import main

_HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
_KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: u, user: {}}]
"""


@pytest.mark.parametrize("command", [["scheduler"], ["explain", "pod", "p"]])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "profiles: [{plugins: {filter: {enabled: [{name: Nope}]}}}]",
            "profiles[0].plugins.filter.enabled[0].name: ",
        ),
        (
            "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: X}}}]}]",
            "profiles[0].pluginConfig[0].args.scoringStrategy.type: Unsupported value",
        ),
        ("percentageOfNodesToScore: 101", "percentageOfNodesToScore: Invalid value"),
        ("nonsense: 1", 'strict decoding error: unknown field "nonsense"'),
    ],
)
def test_a_wrong_file_is_named(
    command: list[str], text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, kubeconfig = tmp_path / "scheduler.yaml", tmp_path / "kubeconfig"
    config.write_text(_HEAD + text)
    kubeconfig.write_text(_KUBECONFIG)
    assert main([*command, "--kubeconfig", str(kubeconfig), "--config", str(config)]) == 1
    assert f"error: {config}: {said}" in capsys.readouterr().err
