"""Kubeconfig files: which server, which authority to trust, who we are.

``load`` reads what kubectl reads: data fields or files beside the config, contexts, tokens, token files
and client certificates. What cannot work raises ``ConfigurationError`` that names the file and the field
and says what to do. ``write`` makes a file that only its owner can read, in one step.

Our own API server's gRPC door is announced as the cluster extension ``coxswain.dev/grpc``:
``{"address": "127.0.0.1:6444"}``.
"""

from __future__ import annotations

import base64
import binascii
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from coxswain.base.errors import ConfigurationError

GRPC_EXTENSION = "coxswain.dev/grpc"
_IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Config:
    """How to reach an API server and as whom. PEM data are bytes; absent things are empty."""

    server: str
    authority: bytes = b""
    certificate: bytes = b""
    key: bytes = b""
    token: str = ""
    token_file: str = ""
    username: str = ""
    password: str = ""
    server_name: str = ""
    insecure: bool = False
    namespace: str = "default"
    grpc_address: str = ""
    #: Headers that say in whose name is asked (``as``, ``as-groups`` ...).
    impersonation: tuple[tuple[str, str], ...] = ()
    #: How this program calls itself to the server, up to a slash the manager of the fields that it writes.
    agent: str = "coxswain"

    def authorization(self, token: str) -> str:
        """The Authorization header, with ``token`` as it is now; empty for none."""
        if token:
            return f"Bearer {token}"
        if self.username or self.password:
            return f"Basic {_base64(f'{self.username}:{self.password}'.encode())}"
        return ""

    def __repr__(self) -> str:
        """Without the secrets."""
        return f"Config(server={self.server!r}, grpc_address={self.grpc_address!r})"


def default_path() -> str:
    """$KUBECONFIG, or ~/.kube/config."""
    return os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())


def load(path: str | os.PathLike[str], context: str = "") -> Config:
    """The configuration of ``context`` (the current one when empty) in the file at ``path``.

    Raises ``ConfigurationError``.
    """
    content = _read(Path(path))
    context = context or str(content.get("current-context") or "")
    if not context:
        raise ConfigurationError(f"{path}: no current-context; name one with --context")
    chosen = _named(content, "contexts", "context", context, path)
    cluster = _named(content, "clusters", "cluster", str(chosen.get("cluster") or ""), path)
    user: Mapping[str, Any] = {}
    if chosen.get("user"):
        user = _named(content, "users", "user", str(chosen["user"]), path)
    return _config(cluster, user, str(chosen.get("namespace") or "default"), Path(path))


def load_users(path: str | os.PathLike[str]) -> tuple[dict[str, Config], str]:
    """All users of a file, as configurations without a server, and who the current context's is ("" for nobody).

    Raises ``ConfigurationError``.
    """
    content = _read(Path(path))
    users = {
        str(entry.get("name")): _config({}, entry.get("user") or {}, "default", Path(path))
        for entry in content.get("users") or ()
        if isinstance(entry, dict)
    }
    chosen: Mapping[str, Any] = {}
    if content.get("current-context"):
        chosen = _named(content, "contexts", "context", str(content["current-context"]), path)
    return users, str(chosen.get("user") or "")


def in_cluster() -> Config:
    """The configuration of a pod, from its service account's files. Raises ``ConfigurationError``."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    token = _IN_CLUSTER / "token"
    if not host or not port or not token.exists():
        raise ConfigurationError("not inside a pod: name a kubeconfig file with --kubeconfig")
    authority = (_IN_CLUSTER / "ca.crt").read_bytes()
    host = f"[{host}]" if ":" in host else host
    return Config(f"https://{host}:{port}", authority=authority, token_file=str(token))


def write(
    path: str | os.PathLike[str], config: Config, *, cluster: str = "coxswain", user: str = "admin"
) -> None:
    """Write ``config`` as a kubeconfig of one context, mode 0600, replacing the file in one step."""
    server: dict[str, Any] = {"server": config.server}
    if config.authority:
        server["certificate-authority-data"] = _base64(config.authority)
    if config.insecure:
        server["insecure-skip-tls-verify"] = True
    if config.server_name:
        server["tls-server-name"] = config.server_name
    if config.grpc_address:
        extension = {"address": config.grpc_address}
        server["extensions"] = [{"name": GRPC_EXTENSION, "extension": extension}]
    who: dict[str, Any] = {}
    if config.certificate:
        who["client-certificate-data"] = _base64(config.certificate)
        who["client-key-data"] = _base64(config.key)
    if config.token:
        who["token"] = config.token
    if config.token_file:
        who["tokenFile"] = config.token_file
    if config.username or config.password:
        who |= {"username": config.username, "password": config.password}
    context = {"cluster": cluster, "user": user}
    if config.namespace != "default":
        context["namespace"] = config.namespace
    name = f"{user}@{cluster}"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": server}],
        "users": [{"name": user, "user": who}],
        "contexts": [{"name": name, "context": context}],
        "current-context": name,
    }
    _write_private(Path(path), yaml.safe_dump(content, sort_keys=False).encode())


def _write_private(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise ConfigurationError(
            f"kubeconfig {path} does not exist; name one with --kubeconfig or $KUBECONFIG"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"kubeconfig {path} cannot be read: {error.strerror}") from None
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        content = yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"kubeconfig {path} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"kubeconfig {path} is not a mapping; is it a kubeconfig?")
    return content


def _named(
    content: Mapping[str, Any], plural: str, singular: str, name: str, path: object
) -> Mapping[str, Any]:
    entries = [entry for entry in content.get(plural) or () if isinstance(entry, dict)]
    for entry in entries:
        if entry.get("name") == name:
            return entry.get(singular) or {}
    known = ", ".join(str(entry.get("name")) for entry in entries) or "none"
    raise ConfigurationError(f"kubeconfig {path}: no {singular} {name!r}; there is: {known}")


def _config(cluster: Mapping[str, Any], user: Mapping[str, Any], namespace: str, path: Path) -> Config:
    server = str(cluster.get("server") or "")
    if cluster and not server.startswith(("https://", "http://")):
        raise ConfigurationError(f"kubeconfig {path}: the cluster's server {server!r} is not an http(s) URL")
    for plugin in ("exec", "auth-provider"):
        if plugin in user:
            raise ConfigurationError(
                f"kubeconfig {path}: the user's {plugin} plugin is not supported; use a token or a client certificate"
            )
    certificate = _pem(user, "client-certificate", path)
    key = _pem(user, "client-key", path)
    if bool(certificate) != bool(key):
        raise ConfigurationError(f"kubeconfig {path}: client-certificate and client-key belong together")
    token_file = str(user.get("tokenFile") or "")
    basic = bool(user.get("username") or user.get("password"))
    if basic and (user.get("token") or token_file):
        raise ConfigurationError(
            f"kubeconfig {path}: more than one authentication method found for a user; "
            "found [token basicAuth], only one is allowed"
        )
    authority = _pem(cluster, "certificate-authority", path)
    if authority and cluster.get("insecure-skip-tls-verify"):
        raise ConfigurationError(
            f"kubeconfig {path}: specifying a root certificates file with the insecure flag is not allowed"
        )
    return Config(
        server=server.rstrip("/"),
        authority=authority,
        certificate=certificate,
        key=key,
        token=str(user.get("token") or ""),
        token_file=str(path.parent / token_file) if token_file else "",
        username=str(user.get("username") or ""),
        password=str(user.get("password") or ""),
        server_name=str(cluster.get("tls-server-name") or ""),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        namespace=namespace,
        grpc_address=_grpc_address(cluster),
        impersonation=_impersonation(user, path),
    )


def _impersonation(user: Mapping[str, Any], path: Path) -> tuple[tuple[str, str], ...]:
    name = str(user.get("as") or "")
    groups, extra = user.get("as-groups") or (), user.get("as-user-extra") or {}
    if not name:
        if groups or extra or user.get("as-uid"):
            why = "requesting uid, groups or user-extra without impersonating a user"
            raise ConfigurationError(f"kubeconfig {path}: {why}")
        return ()
    headers = [("Impersonate-User", name)]
    if user.get("as-uid"):
        headers.append(("Impersonate-Uid", str(user["as-uid"])))
    headers += [("Impersonate-Group", str(group)) for group in groups]
    for key, values in extra.items():
        headers += [(f"Impersonate-Extra-{quote(str(key), safe='')}", str(value)) for value in values]
    return tuple(headers)


def _grpc_address(cluster: Mapping[str, Any]) -> str:
    for entry in cluster.get("extensions") or ():
        if entry.get("name") == GRPC_EXTENSION:
            return str((entry.get("extension") or {}).get("address") or "")
    return ""


def _pem(section: Mapping[str, Any], name: str, path: Path) -> bytes:
    """A credential given as base64 data (which wins, as with kubectl) or as a file."""
    data = section.get(f"{name}-data")
    if data:
        try:
            return base64.b64decode(str(data), validate=True)
        except binascii.Error:
            raise ConfigurationError(f"kubeconfig {path}: {name}-data is not base64") from None
    file = section.get(name)
    if not file:
        return b""
    place = path.parent / str(file)
    try:
        return place.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"kubeconfig {path}: {name} {place} cannot be read: {error.strerror}"
        ) from None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
