"""Keys and certificates: made once, kept private, renewed in time, good for a handshake."""

from __future__ import annotations

import asyncio
import ssl
import stat
from pathlib import Path

import orjson
import pytest

from coxswain.apiserver import pki
from coxswain.base import clock
from coxswain.base.errors import ConfigurationError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_private(tmp_path: Path) -> None:
    keys = pki.Pki(tmp_path / "pki")
    keys.serving()
    keys.service_account_key()
    assert mode(tmp_path / "pki") == 0o700
    assert {mode(path) for path in (tmp_path / "pki").iterdir()} == {0o600}
    assert {path.name for path in (tmp_path / "pki").iterdir()} == {
        *("ca.crt", "ca.key", "apiserver.crt", "apiserver.key", "sa.key", "sa.pub"),
    }


def test_everything_is_reused_at_the_next_start(tmp_path: Path) -> None:
    first = pki.Pki(tmp_path)
    made = (first.ca, first.serving(), first.admin(), first.scheduler(), first.service_account_key())
    second = pki.Pki(tmp_path)
    assert made == (
        second.ca,
        second.serving(),
        second.admin(),
        second.scheduler(),
        second.service_account_key(),
    )
    assert second.controller_manager() == second.controller_manager()


def test_certificates_are_replaced_when_they_no_longer_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = pki.Pki(tmp_path)
    serving, admin = keys.serving(), keys.admin()
    assert keys.serving(["more.example.com"]) != serving
    assert keys.client("admin", "somebody-else") != admin
    admin = keys.admin()
    (tmp_path / "ca.key").unlink()  # a new authority: what the old one signed is worth nothing
    assert pki.Pki(tmp_path).admin() != admin
    keys = pki.Pki(tmp_path)
    admin = keys.admin()
    later = clock.now() + 340 * 24 * 3600
    monkeypatch.setattr(clock, "now", lambda: later)
    assert keys.admin() != admin


def test_names_that_are_no_file_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be the name"):
        pki.Pki(tmp_path).node("../../etc/x")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="key directory"):
        pki.Pki(tmp_path / "file" / "pki")


async def test_handshake_shows_who_calls(tmp_path: Path) -> None:
    keys = pki.Pki(tmp_path)
    seen: list[bytes | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        writer.write(b"ok")
        writer.close()

    server = await asyncio.start_server(
        serve, "127.0.0.1", 0, ssl=pki.server_context(keys.serving(), keys.ca)
    )
    port = server.sockets[0].getsockname()[1]
    admin = keys.admin()
    for client in (admin, None):
        context = pki.client_context(keys.ca.certificate, client)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        assert await reader.read() == b"ok"
        writer.close()
        await writer.wait_closed()
    server.close()
    await server.wait_closed()
    assert seen == [ssl.PEM_cert_to_DER_cert(admin.certificate.decode()), None]


def test_kubeconfig(tmp_path: Path) -> None:
    keys = pki.Pki(tmp_path / "pki")
    path = tmp_path / "kubeconfig"
    path.write_text("old")
    pki.write_kubeconfig(
        path,
        server="https://127.0.0.1:6443",
        ca=keys.ca.certificate,
        client=keys.admin(),
        token="t",
        grpc_address="127.0.0.1:6444",
        namespace="ns",
    )
    assert mode(path) == 0o600
    config = orjson.loads(path.read_bytes())
    cluster = config["clusters"][0]["cluster"]
    assert cluster["extensions"] == [
        {"name": "coxswain.dev/grpc", "extension": {"address": "127.0.0.1:6444"}}
    ]
    assert set(config["users"][0]["user"]) == {"client-certificate-data", "client-key-data", "token"}
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []
