"""Which store the flags mean."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from coxswain.apiserver.settings import StorageSettings
from coxswain.base.errors import ConfigurationError
from coxswain.cli.apiserver_flags import storage
from coxswain.cli.main import main


def settings(*flags: str) -> StorageSettings:
    parser = argparse.ArgumentParser()
    storage.add(parser)
    return storage.settings(parser.parse_args(flags))


def test_without_flags_it_is_sqlite() -> None:
    assert settings().backend == "sqlite"
    assert settings("--store=memory").backend == "memory"


def test_who_names_servers_of_etcd_means_etcd() -> None:
    found = settings("--etcd-servers=https://a:2379, https://b:2379", "--etcd-cafile=ca.crt")
    assert found.backend == "etcd"
    assert found.etcd.servers == ("https://a:2379", "https://b:2379")
    assert found.etcd.ca_file == Path("ca.crt").absolute()
    assert (found.etcd.prefix, found.etcd.compaction_interval) == ("/registry", 300.0)
    assert settings("--store=etcd").etcd.servers == ("http://127.0.0.1:2379",)


def test_prefix_and_compaction_are_kube_apiservers() -> None:
    found = settings("--store=etcd", "--etcd-prefix=other/", "--etcd-compaction-interval=1m30s").etcd
    assert (found.prefix, found.compaction_interval) == ("/other", 90.0)
    assert settings("--etcd-compaction-interval=0").etcd.compaction_interval == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--store=memory", "--etcd-servers=http://a:1"), "--etcd-servers is for"),
        (("--etcd-prefix=/",), "--etcd-prefix"),
        (("--etcd-compaction-interval=soon",), "--etcd-compaction-interval soon"),
        (("--etcd-compaction-interval=-1s",), "--etcd-compaction-interval"),
    ],
)
def test_what_makes_no_sense_is_refused(flags: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        settings(*flags)


def test_a_wrong_address_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["apiserver", f"--data-dir={tmp_path / 'd'}", "--port=0", "--etcd-servers=ftp://a"])
    assert code != 0
    said = capsys.readouterr().err
    assert "error: --etcd-servers ftp://a: has to be http(s)://host:port" in said
    assert "Traceback" not in said
