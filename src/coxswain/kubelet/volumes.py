"""A pod's volumes on the host, and how they are kept up to date.

    PODS/UID/volumes/kubernetes.io~TYPE/NAME       as kubelet lays them out

emptyDir, hostPath, configMap, secret, projected (config maps, secrets, downward API, tokens), downwardAPI.
Files of the last four are written as kubelet's atomic writer does: into a new timestamped directory to
which ``..data`` is then moved, so a reader sees the old set or the new one, never a mixture. Other volume
types are refused with a clear message.
"""

from __future__ import annotations

import base64
import os
import shutil
import stat
from collections.abc import Callable, Mapping

from coxswain.api.names import Object
from coxswain.base import clock
from coxswain.kubelet import env
from coxswain.kubelet.env import Sources
from coxswain.kubelet.runtime.interface import Mount, RuntimeFailure

#: (audience, seconds) -> a token of the pod's service account.
TokenGetter = Callable[[str, int], str]
#: relative path -> (content, mode)
Files = dict[str, tuple[bytes, int]]


class MountError(RuntimeFailure):
    """A volume cannot be set up; the message is what a FailedMount event says."""

    def __init__(self, volume: str, why: str) -> None:
        super().__init__(f'MountVolume.SetUp failed for volume "{volume}" : {why}', "ContainerCreating")


_HOSTS = (
    "# Kubernetes-managed hosts file.",
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::0\tip6-localnet",
    "fe00::0\tip6-mcastprefix",
    "fe00::1\tip6-allnodes",
    "fe00::2\tip6-allrouters",
)
_PROJECTED = ("configMap", "secret", "projected", "downwardAPI")
_PLUGINS = {
    "emptyDir": "empty-dir",
    "configMap": "configmap",
    "secret": "secret",
    "projected": "projected",
    "downwardAPI": "downward-api",
}


def volume_type(volume: Object) -> str:
    """The volume's source: ``configMap``, ``emptyDir``, ..."""
    return next((key for key in volume if key != "name"), "emptyDir")


class PodVolumes:
    """Volumes of one pod below ``root`` (its directory)."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._hashes: dict[str, int] = {}

    def path(self, volume: Object) -> str:
        """Where the volume lies on the host."""
        kind = volume_type(volume)
        if kind == "hostPath":
            return str(volume["hostPath"]["path"])
        return f"{self.root}/volumes/kubernetes.io~{_PLUGINS.get(kind, kind)}/{volume['name']}"

    def setup(
        self,
        pod: Object,
        sources: Sources,
        tokens: TokenGetter,
        allocatable: Mapping[str, str],
        ips: tuple[list[str], list[str]] = ([], []),
    ) -> None:
        """Make or refresh every volume; may be repeated. Raises ``MountError``."""
        for volume in pod["spec"].get("volumes") or ():
            kind, name = volume_type(volume), volume["name"]
            try:
                if kind == "emptyDir":
                    os.makedirs(self.path(volume), exist_ok=True)
                    os.chmod(self.path(volume), 0o777)
                elif kind == "hostPath":
                    _check_host_path(volume["hostPath"])
                elif kind in _PROJECTED:
                    files = _files(pod, kind, volume[kind] or {}, sources, tokens, allocatable, ips)
                    self._write(name, self.path(volume), files)
                else:
                    raise MountError(name, f"volume type {kind} is not supported by this kubelet")
            except OSError as error:
                raise MountError(name, str(error)) from error
            except env.ConfigError as error:
                raise MountError(name, str(error)) from error

    def _write(self, name: str, path: str, files: Files) -> None:
        digest = hash(tuple(sorted(files.items())))
        if self._hashes.get(name) == digest:
            return
        write_atomically(path, files)
        self._hashes[name] = digest

    def mounts(self, pod: Object, container: Object, expand: Callable[[str], str]) -> list[Mount]:
        """What the container sees of the volumes; ``expand`` serves subPathExpr. Raises ``RuntimeFailure``."""
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
        found = []
        for mount in container.get("volumeMounts") or ():
            volume = volumes[mount["name"]]
            host = self.path(volume)
            sub = mount.get("subPath") or expand(mount.get("subPathExpr") or "")
            if sub:
                if sub.startswith("/") or ".." in sub.split("/"):
                    raise env.ConfigError(f"subPath {sub!r} must be inside of the volume")
                if not os.path.lexists(f"{host}/{sub}"):
                    os.makedirs(f"{host}/{sub}", exist_ok=True)
                real = os.path.realpath(f"{host}/{sub}")
                if not (real + "/").startswith(os.path.realpath(host) + "/"):
                    raise env.ConfigError(f"subPath {sub!r} leads out of the volume")
                host, sub = real, ""
            readonly = bool(mount.get("readOnly")) or volume_type(volume) in _PROJECTED
            found.append(Mount(host, mount["mountPath"], readonly))
        return found

    def hosts_file(self, pod: Object, ip: str, hostname: str) -> Mount:
        """The pod's /etc/hosts: itself by its names, and ``hostAliases``; as kubelet writes it."""
        spec = pod["spec"]
        names = hostname
        if spec.get("subdomain"):
            names = (
                f"{hostname}.{spec['subdomain']}.{pod['metadata']['namespace']}.svc.cluster.local\t{hostname}"
            )
        lines = [*_HOSTS, f"{ip}\t{names}"]
        aliases = spec.get("hostAliases") or ()
        lines += ["", "# Entries added by HostAliases."] if aliases else []
        lines += ["\t".join([alias["ip"], *(alias.get("hostnames") or ())]) for alias in aliases]
        os.makedirs(self.root, exist_ok=True)
        path = f"{self.root}/etc-hosts"
        with open(path, "w") as file:
            file.write("\n".join(lines) + "\n")
        os.chmod(path, 0o644)
        return Mount(path, "/etc/hosts")

    def remove(self) -> None:
        """Take the pod's directory away with everything in it; hostPath is left alone."""
        shutil.rmtree(self.root, ignore_errors=True)


def _check_host_path(source: Object) -> None:
    """hostPath's ``type``: make what is to be made, refuse what is something else."""
    path, kind = source["path"], source.get("type") or ""
    if kind == "DirectoryOrCreate":
        os.makedirs(path, mode=0o755, exist_ok=True)
    elif kind == "FileOrCreate" and not os.path.exists(path):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))
    checks: dict[str, tuple[Callable[[int], bool], str]] = {
        "Directory": (stat.S_ISDIR, "a directory"),
        "DirectoryOrCreate": (stat.S_ISDIR, "a directory"),
        "File": (stat.S_ISREG, "a file"),
        "FileOrCreate": (stat.S_ISREG, "a file"),
        "Socket": (stat.S_ISSOCK, "a socket file"),
        "CharDevice": (stat.S_ISCHR, "a character device"),
        "BlockDevice": (stat.S_ISBLK, "a block device"),
    }
    if kind in checks:
        check, words = checks[kind]
        if not os.path.exists(path) or not check(os.stat(path).st_mode):
            raise env.ConfigError(f"hostPath type check failed: {path} is not {words}")


def _files(
    pod: Object,
    kind: str,
    source: Object,
    sources: Sources,
    tokens: TokenGetter,
    allocatable: Mapping[str, str],
    ips: tuple[list[str], list[str]],
) -> Files:
    mode = int(source.get("defaultMode") or 0o644)
    if kind == "configMap":
        return _config_map_files(sources.config_map(source["name"]), source, source["name"], mode)
    if kind == "secret":
        name = source["secretName"]
        return _secret_files(sources.secret(name), source, name, mode)
    if kind == "downwardAPI":
        return _downward_files(pod, source, mode, allocatable, ips)
    found: Files = {}
    for part in source.get("sources") or ():
        if (config := part.get("configMap")) is not None:
            found |= _config_map_files(sources.config_map(config["name"]), config, config["name"], mode)
        if (secret := part.get("secret")) is not None:
            found |= _secret_files(sources.secret(secret["name"]), secret, secret["name"], mode)
        if (downward := part.get("downwardAPI")) is not None:
            found |= _downward_files(pod, downward, mode, allocatable, ips)
        if (token := part.get("serviceAccountToken")) is not None:
            text = tokens(token.get("audience") or "", int(token.get("expirationSeconds") or 3600))
            found[token["path"]] = (text.encode(), 0o600 if not _has_other_users(pod) else mode)
    return found


def _has_other_users(pod: Object) -> bool:
    """Some container does not run as root, so a token file must be readable by others."""
    everyone = [pod["spec"], *pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ())]
    return any((part.get("securityContext") or {}).get("runAsUser") for part in everyone)


def _config_map_files(config: Object | None, source: Object, name: str, mode: int) -> Files:
    if config is None:
        if source.get("optional"):
            return {}
        raise env.ConfigError(f'configmap "{name}" not found')
    data = {key: value.encode() for key, value in (config.get("data") or {}).items()}
    data |= {key: base64.b64decode(value) for key, value in (config.get("binaryData") or {}).items()}
    return _select(data, source, mode)


def _secret_files(secret: Object | None, source: Object, name: str, mode: int) -> Files:
    if secret is None:
        if source.get("optional"):
            return {}
        raise env.ConfigError(f'secret "{name}" not found')
    data = {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}
    return _select(data, source, mode)


def _select(data: Mapping[str, bytes], source: Object, mode: int) -> Files:
    """All keys, or those of ``items`` at their paths."""
    items = source.get("items")
    if not items:
        return {key: (value, mode) for key, value in data.items()}
    found: Files = {}
    for item in items:
        if item["key"] not in data:
            if source.get("optional"):
                continue
            raise env.ConfigError(f"references non-existent config key: {item['key']}")
        found[item["path"]] = (data[item["key"]], int(item.get("mode") or mode))
    return found


def _downward_files(
    pod: Object, source: Object, mode: int, allocatable: Mapping[str, str], ips: tuple[list[str], list[str]]
) -> Files:
    found: Files = {}
    for item in source.get("items") or ():
        if reference := item.get("fieldRef"):
            text = env.field_value(pod, reference["fieldPath"], *ips)
        else:
            text = env.resource_value(pod, {}, item["resourceFieldRef"], allocatable)
        found[item["path"]] = (text.encode(), int(item.get("mode") or mode))
    return found


def write_atomically(path: str, files: Files) -> None:
    """Replace the files below ``path`` all at once, by moving its ``..data`` link."""
    os.makedirs(path, mode=0o755, exist_ok=True)
    stamp = clock.format_micro_time(clock.now()).replace("-", "_").replace(":", "_")
    fresh = f"..{stamp}"
    number = 0
    while os.path.lexists(f"{path}/{fresh}"):
        number += 1
        fresh = f"..{stamp}.{number}"
    os.mkdir(f"{path}/{fresh}", 0o755)
    for name, (content, mode) in files.items():
        if name.startswith("/") or ".." in name.split("/"):
            raise env.ConfigError(f"invalid path: {name}")
        target = f"{path}/{fresh}/{name}"
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        descriptor = os.open(target, os.O_CREAT | os.O_WRONLY | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.chmod(target, mode)
    old = os.readlink(f"{path}/..data") if os.path.islink(f"{path}/..data") else ""
    os.symlink(fresh, f"{path}/..data_tmp")
    os.rename(f"{path}/..data_tmp", f"{path}/..data")
    tops = {name.split("/", 1)[0] for name in files}
    for top in tops:
        if not os.path.lexists(f"{path}/{top}"):
            os.symlink(f"..data/{top}", f"{path}/{top}")
    for entry in os.listdir(path):
        if not entry.startswith("..") and entry not in tops:
            os.unlink(f"{path}/{entry}")
    if old:
        shutil.rmtree(f"{path}/{old}", ignore_errors=True)
