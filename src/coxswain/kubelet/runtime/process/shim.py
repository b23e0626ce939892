"""The container shim: keeps one container's process, its log and its exit code, whatever becomes of the kubelet.

Run by path as ``python -I -S shim.py ROOT`` with the standard library only: it must be small and start fast.

    kubelet --stdin--> nursery (this program)         "start ID\\n" for each container; ends with its stdin
                          fork -> supervisor ID       own session; sub-reaper; outlives the kubelet
                                     fork -> the container's process: namespaces, mounts, limits, exec

Guarantees:
- A container starts at most once: its supervisor creates ``started`` with O_EXCL before anything else.
- ``state.json`` (pids with start times) is there before the process is executed, ``exit.json`` after it and
  all its descendants have ended. Both appear whole (written aside, then renamed).
- Output goes to the log in CRI's format; the file is rotated at ``log_max_bytes``, ``log_max_files`` are kept.
- Each start and exit is told to ROOT/events.sock as a datagram ``started ID`` or ``exited ID``; if nobody
  listens, the files say it all.
- If the supervisor dies, its process gets SIGKILL (parent-death signal).

``python -I -S shim.py --enter PID DIRECTORY -- argv`` runs a command inside a running container (exec probes, hooks).
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing at run time would cost every shim a megabyte
    from typing import Any, NoReturn

    Record = dict[str, Any]

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT = 1, 2, 4, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
CHUNK = 16384
#: Host mounts that are shown as they are, never covered by a writable layer.
_KERNEL_TREES = ("/proc", "/sys", "/dev")

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def prctl(option: int, value: int | bytes) -> None:
    _check(_libc.prctl(option, value, 0, 0, 0), "prctl")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    arguments = [x.encode() if x else None for x in (source, target, kind)]
    _check(_libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() if data else None), f"mount {target}")


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def setns(path: str, kind: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(descriptor, kind), f"setns {path}")
    finally:
        os.close(descriptor)


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot: with the pid it names the process for ever."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def write_whole(path: str, value: Record) -> None:
    with open(path + ".new", "w") as file:
        json.dump(value, file)
    os.rename(path + ".new", path)


# ---- the file system of a container: the host's, under a writable layer of its own


def _host_mounts() -> list[str]:
    """Mount points of the host below /, outermost first."""
    found: list[str] = []
    with open("/proc/self/mountinfo") as file:
        for line in file:
            path = line.split()[4].encode().decode("unicode_escape")
            if path != "/" and not any(path == top or path.startswith(top + "/") for top in found):
                found.append(path)
    return found


def _resolve(root: str, path: str) -> str:
    """``path`` inside ``root`` with links followed inside of it, as a host path."""
    done: list[str] = []
    todo = [part for part in path.split("/") if part]
    links = 0
    while todo:
        part = todo.pop(0)
        if part == ".":
            continue
        if part == "..":
            done = done[:-1]
            continue
        here = root + "/" + "/".join([*done, part])
        if os.path.islink(here):
            links += 1
            if links > 40:
                raise OSError(40, f"too many links in {path}")
            target = os.readlink(here)
            if target.startswith("/"):
                done = []
            todo[:0] = [piece for piece in target.split("/") if piece]
        else:
            done.append(part)
    return "/" + "/".join(done)


def _layer(scratch: str, number: int, lower: str, target: str) -> None:
    upper, work = f"{scratch}/u{number}", f"{scratch}/w{number}"
    os.mkdir(upper)
    os.mkdir(work)
    mount("overlay", target, "overlay", 0, f"lowerdir={lower},upperdir={upper},workdir={work}")


def enter_root(directory: str, mounts: list[tuple[str, str, bool]], layer_bytes: int) -> None:
    """Build the container's root in a private mount namespace and move into it.

    The host's root lies below a writable layer (a tmpfs of at most ``layer_bytes``), other host mounts are
    shown where they are, and ``mounts`` (source, target, readonly) are bound at their paths. Mount points are
    made in the layers only: the host's file system is never touched.
    """
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    scratch = directory + "/layer"
    os.makedirs(scratch, exist_ok=True)
    mount("tmpfs", scratch, "tmpfs", MS_NOSUID | MS_NODEV, f"size={layer_bytes},mode=0755")
    root = scratch + "/root"
    os.mkdir(root)
    host = _host_mounts()
    _layer(scratch, 0, "/", root)
    covered = {}
    for number, path in enumerate(host, 1):
        if path == scratch or not os.path.exists(root + path):
            continue
        mount(path, root + path, None, MS_BIND | MS_REC)
        covered[path] = number
    for source, target, readonly in mounts:
        inside = _resolve(root, target)
        is_dir = os.path.isdir(source)
        if not os.path.lexists(root + inside):
            _make_point(scratch, root, inside, is_dir, covered)
        mount(source, root + inside, None, MS_BIND | MS_REC)
        if readonly:
            mount(None, root + inside, None, MS_BIND | MS_REMOUNT | MS_RDONLY)
    os.chroot(root)
    os.chdir("/")


def _make_point(scratch: str, root: str, inside: str, is_dir: bool, covered: dict[str, int]) -> None:
    """Make a mount point in a layer; a host mount that lies there gets a layer first."""
    for path, number in list(covered.items()):
        if number and (inside == path or inside.startswith(path + "/")):
            if path.startswith(_KERNEL_TREES):
                raise OSError(1, f"cannot make a mount point below {path}")
            _layer(scratch, number, root + path, root + path)
            covered[path] = 0
    full = root + inside
    os.makedirs(full if is_dir else os.path.dirname(full), exist_ok=True)
    if not is_dir:
        with open(full, "x"):
            pass


# ---- the container's process


def _apply_limits(spec: Record) -> None:
    for name, (soft, hard) in spec.get("rlimits", {}).items():
        resource.setrlimit(getattr(resource, name), (soft, hard))
    for path in spec.get("cgroups", ()):
        with open(path + "/cgroup.procs", "w") as file:
            file.write(str(os.getpid()))
    if spec.get("oom_score_adj"):
        try:
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write(str(spec["oom_score_adj"]))
        except OSError:
            pass


def _enter_namespaces(spec: Record, directory: str) -> None:
    if spec.get("netns"):
        setns(spec["netns"], CLONE_NEWNET)
    if spec["isolation"] == "none":
        return
    if spec["isolation"] == "user":
        uid, gid = os.getuid(), os.getgid()
        unshare(CLONE_NEWUSER | CLONE_NEWNS)
        with open("/proc/self/setgroups", "w") as file:
            file.write("deny")
        for name, number in (("uid_map", uid), ("gid_map", gid)):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(f"{number} {number} 1")
    else:
        unshare(CLONE_NEWNS | CLONE_NEWUTS)
        if spec.get("hostname"):
            name = spec["hostname"].encode()
            _libc.sethostname(name, len(name))
    enter_root(directory, spec["mounts"], spec["layer_bytes"])


def find_executable(name: str, env: dict[str, str], cwd: str) -> str:
    """The path that ``name`` stands for, in the container's PATH. Raises FileNotFoundError in runc's words."""
    if "/" in name:
        if not os.path.exists(os.path.join(cwd, name)):
            raise FileNotFoundError(f'exec: "{name}": stat {name}: no such file or directory')
        return name
    for folder in env.get("PATH", os.defpath).split(":"):
        path = os.path.join(folder or ".", name)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    raise FileNotFoundError(f'exec: "{name}": executable file not found in $PATH')


def run_process(spec: Record, directory: str, output: int, errors: int, report: int) -> NoReturn:
    """In the new process: become the container. Only returns by exec; failures go to ``report``."""
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        for number in (signal.SIGPIPE, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        _apply_limits(spec)
        _enter_namespaces(spec, directory)
        env = dict(spec["env"])
        cwd = spec["cwd"] or "/"
        if not os.path.isdir(cwd):
            os.makedirs(cwd)
        os.chdir(cwd)
        path = find_executable(spec["argv"][0], env, cwd)
        if spec.get("gid") is not None or spec.get("uid") is not None:
            os.setgroups(spec.get("groups", []))
            os.setgid(spec["gid"] if spec.get("gid") is not None else 0)
            if spec.get("uid") is not None:
                os.setuid(spec["uid"])
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(errors, 2)
        os.execve(path, spec["argv"], env)
    except BaseException as error:
        text = str(error) if isinstance(error, FileNotFoundError) and not error.errno else f"{error}"
        os.write(report, text.encode()[:4000] or b"failed")
    finally:
        os._exit(128)


# ---- the supervisor


class Log:
    """A log file in CRI's format that rotates itself."""

    def __init__(self, path: str, max_bytes: int, max_files: int) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.max_files = max_files
        self.rest = {"stdout": b"", "stderr": b""}
        self.open()

    def open(self) -> None:
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        self.file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self.size = os.fstat(self.file).st_size

    def reopen(self) -> None:
        os.close(self.file)
        self.open()

    def feed(self, stream: str, data: bytes) -> None:
        """Write the whole lines of ``data``; what is longer than 16 KiB becomes partial lines (P)."""
        seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        head = f"{stamp}.{nanos:09d}Z {stream} ".encode()
        lines = (self.rest[stream] + data).split(b"\n")
        rest = lines.pop()
        out = []
        for line in lines:
            while len(line) > CHUNK:
                out.append(head + b"P " + line[:CHUNK] + b"\n")
                line = line[CHUNK:]
            out.append(head + b"F " + line + b"\n")
        while len(rest) >= CHUNK:
            out.append(head + b"P " + rest[:CHUNK] + b"\n")
            rest = rest[CHUNK:]
        self.rest[stream] = rest
        self.write(b"".join(out))

    def finish(self) -> None:
        for stream, rest in self.rest.items():
            if rest:
                self.feed(stream, b"\n")

    def write(self, data: bytes) -> None:
        if self.size and self.size + len(data) > self.max_bytes:
            self.rotate()
        try:
            while data:
                done = os.write(self.file, data)
                self.size += done
                data = data[done:]
        except OSError:
            pass  # a full disk loses log lines, never the container

    def rotate(self) -> None:
        folder, name = os.path.split(self.path)
        try:
            os.rename(
                self.path,
                f"{self.path}.{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{time.time_ns() % 10**9:09d}",
            )
            old = sorted(entry for entry in os.listdir(folder) if entry.startswith(name + "."))
            for entry in old[: max(0, len(old) - (self.max_files - 1))]:
                os.unlink(os.path.join(folder, entry))
        except OSError:
            pass
        self.reopen()


def tell(root: str, text: str) -> None:
    """Tell the kubelet, if one listens."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            here = os.open(root, os.O_RDONLY | os.O_CLOEXEC)
            try:
                sender.sendto(text.encode(), f"/proc/self/fd/{here}/events.sock")
            finally:
                os.close(here)
    except OSError:
        pass


def supervise(root: str, identifier: str) -> None:
    """In the new supervisor: run the container ``identifier`` to its end."""
    directory = f"{root}/containers/{identifier}"
    try:
        os.close(os.open(directory + "/started", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError:
        return
    os.setsid()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    with open(directory + "/config.json") as file:
        spec = json.load(file)["process"]
    lock = os.open(directory + "/lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    log = Log(spec["log_path"], spec["log_max_bytes"], spec["log_max_files"])
    signal.signal(signal.SIGUSR1, lambda *_: log.reopen())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    output, errors, report, gate = (os.pipe2(os.O_CLOEXEC) for _ in range(4))
    started = time.time()
    child = os.fork()
    if child == 0:
        os.close(gate[1])
        os.read(gate[0], 1)  # until our pid is on disk
        run_process(spec, directory, output[1], errors[1], report[1])
    for descriptor in (output[1], errors[1], report[1], gate[0]):
        os.close(descriptor)
    state = {"pid": child, "pid_start": start_ticks(child), "started_at": started}
    state.update(supervisor=os.getpid(), supervisor_start=start_ticks(os.getpid()))
    write_whole(directory + "/state.json", state)
    os.close(gate[1])
    failure = b""
    while chunk := os.read(report[0], 4096):
        failure += chunk
    if not failure:
        tell(root, f"started {identifier}")
    wait_status = pump(child, {output[0]: "stdout", errors[0]: "stderr"}, log)
    log.finish()
    result: Record = {"exit_code": os.waitstatus_to_exitcode(wait_status), "finished_at": time.time()}
    if result["exit_code"] < 0:
        result["signal"] = -result["exit_code"]
        result["exit_code"] = 128 - result["exit_code"]
    if failure:
        result.update(exit_code=128, reason="StartError", message=failure.decode(errors="replace"))
    elif oom_killed(spec):
        result["reason"] = "OOMKilled"
    write_whole(directory + "/exit.json", result)
    tell(root, f"exited {identifier}")


def oom_killed(spec: Record) -> bool:
    """Whether the kernel killed something of this container for want of memory."""
    for path in spec.get("cgroups", ()):
        for name in ("memory.events", "memory.oom_control"):
            try:
                with open(f"{path}/{name}") as file:
                    if any(line.startswith("oom_kill ") and int(line.split()[1]) for line in file):
                        return True
            except OSError:
                continue
    return False


def pump(child: int, streams: dict[int, str], log: Log) -> int:
    """Copy output until the process has ended; then kill what it left behind. Returns its wait status."""
    poller = select.poll()
    for descriptor in streams:
        poller.register(descriptor, select.POLLIN)
    ended = os.pidfd_open(child) if hasattr(os, "pidfd_open") else -1
    if ended >= 0:
        poller.register(ended, select.POLLIN)
    result = None
    while result is None or streams:
        ready = poller.poll(1000 if ended < 0 else None) if result is None else poller.poll(200)
        for descriptor, _ in ready:
            if descriptor not in streams:
                continue
            data = os.read(descriptor, 65536)
            if data:
                log.feed(streams[descriptor], data)
            else:
                poller.unregister(descriptor)
                del streams[descriptor]
        if result is None:
            pid, found = os.waitpid(child, os.WNOHANG)
            if pid:
                result = found
                if ended >= 0:
                    poller.unregister(ended)
                kill_rest(child)
        elif not ready:
            break
    reap_all()
    return result


def children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def kill_rest(group: int) -> None:
    """SIGKILL the process's group and every orphan that came to us."""
    for _ in range(50):
        try:
            os.killpg(group, signal.SIGKILL)
        except OSError:
            pass
        orphans = children()
        for pid in orphans:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        if not reap_all() and not orphans:
            return
        time.sleep(0.005)


def reap_all() -> bool:
    """Collect the dead; whether any child is left."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return True
        except ChildProcessError:
            return False


# ---- entry points


def nursery(root: str) -> None:
    """Read ``start ID`` lines and fork a supervisor for each, until stdin ends."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    rest = b""
    while chunk := os.read(0, 4096):
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        for line in lines:
            verb, _, identifier = line.decode().partition(" ")
            if verb == "start" and os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                become_supervisor(root, identifier)


def become_supervisor(root: str, identifier: str) -> NoReturn:
    code = 0
    try:
        null = os.open("/dev/null", os.O_RDWR)
        for descriptor in (0, 1):
            os.dup2(null, descriptor)
        with open(f"{root}/containers/{identifier}/shim.log", "a") as file:
            os.dup2(file.fileno(), 2)
        os.close(null)
        prctl(PR_SET_NAME, b"cox-shim")
        supervise(root, identifier)
    except BaseException as error:
        code = 1
        import traceback

        traceback.print_exc()
        failed = {"exit_code": 128, "finished_at": time.time(), "reason": "StartError", "message": str(error)}
        if not os.path.exists(f"{root}/containers/{identifier}/exit.json"):
            write_whole(f"{root}/containers/{identifier}/exit.json", failed)
        tell(root, f"exited {identifier}")
    finally:
        os._exit(code)


def enter(pid: int, cwd: str, argv: list[str]) -> None:
    """Run ``argv`` in the namespaces, root and environment of process ``pid``."""
    with open(f"/proc/{pid}/environ", "rb") as file:
        pairs = [item.partition(b"=") for item in file.read().split(b"\0") if b"=" in item]
    env = {os.fsdecode(key): os.fsdecode(value) for key, _, value in pairs}
    namespaces = (("user", CLONE_NEWUSER), ("net", CLONE_NEWNET), ("uts", CLONE_NEWUTS), ("mnt", CLONE_NEWNS))
    root = os.open(f"/proc/{pid}/root", os.O_RDONLY)
    paths = {kind: f"/proc/{pid}/ns/{kind}" for kind, _ in namespaces}
    wanted = [
        (os.open(paths[kind], os.O_RDONLY), flag, kind)
        for kind, flag in namespaces
        if os.readlink(paths[kind]) != os.readlink(f"/proc/self/ns/{kind}")
    ]
    for descriptor, flag, kind in wanted:
        _check(_libc.setns(descriptor, flag), f"setns {kind}")
    if any(kind == "mnt" for _, _, kind in wanted):
        os.fchdir(root)
        os.chroot(".")
    for folder in (cwd, "/"):
        try:
            os.chdir(folder)
            break
        except OSError:
            continue
    try:
        os.execve(find_executable(argv[0], env, os.getcwd()), argv, env)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(126 if isinstance(error, PermissionError) else 127)


def main() -> None:
    if sys.argv[1] == "--enter":
        enter(int(sys.argv[2]), sys.argv[3], sys.argv[5:])
    elif sys.argv[1] == "--can-isolate":
        kind, scratch = sys.argv[2], sys.argv[3]
        spec = {"isolation": kind, "mounts": [], "layer_bytes": 1 << 20}
        _enter_namespaces(spec, scratch)
    else:
        nursery(os.path.abspath(sys.argv[1]))


if __name__ == "__main__":
    main()
