"""Kubeconfig files are read as kubectl reads them, and written for their owner only."""

from __future__ import annotations

from pathlib import Path

import pytest

from coxswain.base.errors import ConfigurationError
from coxswain.client import kubeconfig
from coxswain.client.kubeconfig import Config

FULL = Config(
    "https://127.0.0.1:6443",
    authority=b"ca",
    certificate=b"cert",
    key=b"key",
    namespace="team",
    grpc_address="127.0.0.1:6444",
)


def test_what_was_written_is_read_and_only_the_owner_may(tmp_path: Path) -> None:
    path = tmp_path / "config"
    kubeconfig.write(path, FULL)
    assert path.stat().st_mode & 0o777 == 0o600
    assert kubeconfig.load(path) == FULL
    assert list(tmp_path.iterdir()) == [path]
    assert "key" not in repr(FULL)


def test_files_beside_the_config_are_found(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"authority")
    path = tmp_path / "config"
    path.write_text(
        "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n"
        "clusters: [{name: k, cluster: {server: 'https://h:1/', certificate-authority: ca.pem}}]\n"
        "users: [{name: u, user: {tokenFile: token}}]\n"
    )
    config = kubeconfig.load(path)
    assert config.authority == b"authority"
    assert config.server == "https://h:1"
    assert config.token_file == str(tmp_path / "token")


CONTEXT = "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n"
CLUSTER = CONTEXT + "clusters: [{name: k, cluster: {server: 'https://h'}}]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is it a kubeconfig"),
        ("{a: [", "not YAML"),
        ("contexts: []", "name one with --context"),
        ("current-context: x", "no context 'x'"),
        (CONTEXT, "no cluster 'k'"),
        (CLUSTER, "no user 'u'"),
        (
            CONTEXT + "clusters: [{name: k, cluster: {server: h}}]\nusers: [{name: u, user: {}}]",
            "not an http",
        ),
        (CLUSTER + "users: [{name: u, user: {exec: {}}}]", "exec plugin is not supported"),
        (CLUSTER + "users: [{name: u, user: {client-key-data: a}}]", "not base64"),
        (CLUSTER + "users: [{name: u, user: {client-key-data: YQ==}}]", "belong together"),
        (CLUSTER + "users: [{name: u, user: {client-key: gone}}]", "cannot be read: No such file"),
        (
            CLUSTER + "users: [{name: u, user: {username: a, password: b, token: c}}]",
            "more than one authentication method found",
        ),
        (
            CLUSTER.replace(
                "'https://h'", "'https://h', insecure-skip-tls-verify: true, certificate-authority-data: YQ=="
            )
            + "users: [{name: u, user: {}}]",
            "root certificates file with the insecure flag is not allowed",
        ),
        (CLUSTER + "users: [{name: u, user: {as-groups: [g]}}]", "without impersonating a user"),
    ],
)
def test_a_config_that_cannot_work_says_why(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        kubeconfig.load(path)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="name one with --kubeconfig"):
        kubeconfig.load(tmp_path / "none")


def test_passwords_and_other_names_become_headers(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(
        CLUSTER + "users: [{name: u, user: {username: jane, password: 'p:w', as: joe, as-uid: '7', "
        "as-groups: [a, b], as-user-extra: {'x/y': [z]}}}]"
    )
    config = kubeconfig.load(path)
    assert config.authorization("") == "Basic amFuZTpwOnc="
    assert config.authorization("T") == "Bearer T"
    assert Config("https://h").authorization("") == ""
    assert config.impersonation == (
        ("Impersonate-User", "joe"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-x%2Fy", "z"),
    )
    assert "p:w" not in repr(config)
    again = tmp_path / "again"
    kubeconfig.write(again, Config("https://h", username="jane", password="p:w"))
    assert kubeconfig.load(again).password == "p:w"
