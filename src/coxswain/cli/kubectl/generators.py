"""Objects made from flags: what ``create deployment web --image=nginx`` and its like stand for."""

from __future__ import annotations

import argparse
import base64
import re
from pathlib import Path

from coxswain.api.names import Object
from coxswain.cli.kubectl.failures import UsageError

_KEY = re.compile(r"[-._a-zA-Z0-9]+")


def generate(args: argparse.Namespace) -> Object:
    """The object of ``args.words`` and flags. Raises ``UsageError``."""
    kind, *names = args.words
    if kind == "secret":
        if not names or names[0] != "generic":
            raise UsageError("only generic secrets are made from flags: cox create secret generic NAME")
        names = names[1:]
    maker = _MAKERS.get(kind)
    if maker is None:
        kinds = "namespace, deployment, configmap, secret, serviceaccount"
        raise UsageError(
            f'nothing makes a "{kind}" from flags; there is: {kinds}. Others come from files: -f FILE'
        )
    if len(names) != 1:
        raise UsageError(
            f"exactly one NAME is required, got {len(names)}\nSee 'cox create --help' for examples"
        )
    return maker(names[0], args)


def _meta(name: str) -> Object:
    return {"creationTimestamp": None, "name": name}


def namespace(name: str, args: argparse.Namespace) -> Object:
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": _meta(name), "spec": {}, "status": {}}


def service_account(name: str, args: argparse.Namespace) -> Object:
    """A ServiceAccount."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _meta(name)}


def deployment(name: str, args: argparse.Namespace) -> Object:
    """A Deployment whose pods have the label ``app: NAME``."""
    images = [image for part in args.image for image in part.split(",") if image]
    if not images:
        raise UsageError('required flag(s) "image" not set')
    if args.command and len(images) > 1:
        raise UsageError("cannot specify multiple --image options and command")
    if args.replicas < 0:
        raise UsageError("replicas must be a non-negative number")
    containers: list[Object] = [
        {"image": image, "name": _container_name(image), "resources": {}} for image in images
    ]
    if args.command:
        containers[0]["command"] = args.command
    if args.port >= 0:
        for container in containers:
            container["ports"] = [{"containerPort": args.port}]
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**_meta(name), "labels": labels},
        "spec": {
            "replicas": args.replicas,
            "selector": {"matchLabels": labels},
            "strategy": {},
            "template": {
                "metadata": {"creationTimestamp": None, "labels": labels},
                "spec": {"containers": containers},
            },
        },
        "status": {},
    }


def _container_name(image: str) -> str:
    """``registry/team/My_App:1.2`` -> ``my-app``."""
    name = image.rpartition("/")[2].partition(":")[0].partition("@")[0]
    return re.sub(r"[^a-z0-9-]", "-", name.lower()).strip("-")


def config_map(name: str, args: argparse.Namespace) -> Object:
    """A ConfigMap of literals and files; what is no text goes to ``binaryData``."""
    text: dict[str, str] = {}
    binary: dict[str, str] = {}
    for key, value in _entries(args).items():
        try:
            text[key] = value.decode()
        except UnicodeDecodeError:
            binary[key] = base64.b64encode(value).decode()
    obj: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(name)}
    if text:
        obj["data"] = text
    if binary:
        obj["binaryData"] = binary
    return obj


def secret(name: str, args: argparse.Namespace) -> Object:
    """A Secret of literals and files."""
    data = {key: base64.b64encode(value).decode() for key, value in _entries(args).items()}
    obj: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": _meta(name)}
    if data:
        obj["data"] = data
    if args.type:
        obj["type"] = args.type
    return obj


def _entries(args: argparse.Namespace) -> dict[str, bytes]:
    """The keys and values of ``--from-file`` and ``--from-literal``."""
    entries: dict[str, bytes] = {}

    def add(key: str, value: bytes) -> None:
        if not _KEY.fullmatch(key) or len(key) > 253 or key in (".", "..") or key.startswith(".."):
            raise UsageError(
                f'"{key}" is not a valid key name: a valid config key must consist of alphanumeric characters, '
                "'-', '_' or '.'"
            )
        if key in entries:
            raise UsageError(f"cannot add key {key}, another key by that name already exists")
        entries[key] = value

    for source in args.from_file:
        for key, path in _files_of(source):
            add(key, _read(path))
    for literal in args.literals:
        key, equals, value = literal.partition("=")
        if not equals or not key:
            raise UsageError(f"invalid literal source {literal}, expected key=value")
        add(key, _unquoted(value).encode())
    return entries


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value


def _files_of(source: str) -> list[tuple[str, Path]]:
    key, equals, place = source.partition("=")
    path = Path(place if equals else source)
    if not path.is_dir():
        return [(key if equals else path.name, path)]
    if equals:
        raise UsageError("cannot give a key name for a directory path")
    inside = sorted(file for file in path.iterdir() if file.is_file() and _KEY.fullmatch(file.name))
    return [(file.name, file) for file in inside]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"error reading {path}: no such file or directory") from None
    except OSError as error:
        raise UsageError(f"error reading {path}: {error.strerror}") from None


_MAKERS = {
    "namespace": namespace,
    "ns": namespace,
    "deployment": deployment,
    "deploy": deployment,
    "configmap": config_map,
    "cm": config_map,
    "secret": secret,
    "serviceaccount": service_account,
    "sa": service_account,
}
