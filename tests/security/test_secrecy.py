"""No secret is ever logged, shown in an answer to somebody else, or left readable on disk."""

from __future__ import annotations

import base64
import logging
import stat
from pathlib import Path

import pytest

from coxswain.apiserver.authn.settings import AuthenticationSettings, IdentitySettings
from security.attacks import ADMIN, NOBODY, serving

VALUE = "hunter2-is-the-value"
PASSWORD = "correct-horse-battery"
BOOTSTRAP = "abcdef.0123456789abcdef"


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def test_nothing_secret_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    passwords = tmp_path / "passwords.csv"
    passwords.write_text(f"{PASSWORD},jim,9\n")
    identity = IdentitySettings(AuthenticationSettings(basic_auth_file=passwords))
    async with serving(tmp_path, identity) as target:
        secrets = "/api/v1/namespaces/default/secrets"
        secret = {"metadata": {"name": "s"}, "data": {"k": _b64(VALUE)}}
        await target.must("POST", secrets, secret)
        await target.must("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "r"}})
        answer = await target.must("POST", "/api/v1/namespaces/default/serviceaccounts/r/token", {"spec": {}})
        token = answer["status"]["token"]
        data = {"token-id": _b64(BOOTSTRAP[:6]), "token-secret": _b64(BOOTSTRAP[7:])}
        await target.must(
            "POST",
            "/api/v1/namespaces/kube-system/secrets",
            {
                "metadata": {"name": f"bootstrap-token-{BOOTSTRAP[:6]}"},
                "type": "bootstrap.kubernetes.io/token",
                "data": data,
            },
        )
        for credentials in (token, token[:-3] + "abc", BOOTSTRAP, "wrong-t0ken", NOBODY):
            await target.send("GET", secrets, token=credentials)
        for credentials in (f"jim:{PASSWORD}", f"joe:{PASSWORD}", f"jim:{PASSWORD}x"):
            await target.send("GET", secrets, Authorization=f"Basic {_b64(credentials)}")
        await target.send(
            "POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": token}}, token=ADMIN
        )
        # What fails half-way has shown much of itself already.
        await target.send("POST", secrets, {**secret, "metadata": {"name": "S!"}}, token=ADMIN)
        await target.send("POST", secrets, {**secret, "data": {"k": VALUE}}, token=ADMIN)
        await target.send("PUT", f"{secrets}/s", {**secret, "type": "other"}, token=ADMIN)
        await target.send("POST", secrets, f'{{"data":{{"k":"{VALUE}"'.encode(), token=ADMIN)
        await target.send(
            "PATCH",
            f"{secrets}/s",
            {"stringData": {"x": VALUE}},
            token=ADMIN,
            Content_Type="application/merge-patch+json",
        )
        await target.must("DELETE", f"{secrets}/s")
    logged = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    for hidden in (
        VALUE,
        _b64(VALUE),
        PASSWORD,
        _b64(PASSWORD)[:20],
        ADMIN,
        NOBODY,
        "wrong-t0ken",
        token,
        token.split(".")[2],
        BOOTSTRAP[7:],
    ):
        assert hidden not in logged


async def test_metrics_and_refusals_show_no_secret(tmp_path: Path) -> None:
    async with serving(tmp_path) as target:
        secret = {"metadata": {"name": "s"}, "data": {"k": _b64(VALUE)}}
        await target.must("POST", "/api/v1/namespaces/default/secrets", secret)
        _, metrics = await target.send("GET", "/metrics", token=ADMIN)
        text = metrics.decode() if isinstance(metrics, bytes) else str(metrics)
        assert ADMIN not in text
        assert VALUE not in text
        for token in ("", NOBODY):
            code, answer = await target.send("GET", "/api/v1/namespaces/default/secrets/s", token=token)
            assert code == 403
            assert _b64(VALUE) not in str(answer)


async def test_what_is_on_disk_is_for_its_owner_only(tmp_path: Path) -> None:
    async with serving(tmp_path) as target:
        data = target.server.config.data_dir
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        loose = [
            str(path)
            for path in data.rglob("*")
            if stat.S_IMODE(path.stat().st_mode) & 0o077 and path.name not in ("ca.crt",)
        ]
        assert not loose
