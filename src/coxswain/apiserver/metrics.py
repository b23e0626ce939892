"""What the API server counts of requests, under Kubernetes' names and labels.

    served = of("list", PODS, "", "default", "", False, known)     once a kind of request: the rest is a look into a dict
    served.observe(200, seconds, size)                           some additions: no locks, no labels to look up

Everything is counted on the loop's thread. What Prometheus sees is made of it when somebody asks (``_Requests``,
``_histograms``), as is what needs no counting at all (``census``). Several servers in one process add up.

What clients make up is counted under one name or none: resources and subresources that nobody serves, verbs that no
resource has, methods that Kubernetes does not tell apart ("other"). Of what is served there is a histogram for each
resource, verb and scope; custom resources that come and go are told apart up to ``_MOST_KINDS`` of those. So nobody can
fill the memory, or the answer, with labels.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from coxswain.api.names import GVR
from coxswain.base import metrics

PANICS = metrics.counter("apiserver_request_panics", "Requests that met a bug and were answered with 500.")
DEPRECATED = metrics.gauge(
    "apiserver_requested_deprecated_apis",
    "Deprecated APIs that have been requested, by group, version, resource, subresource and removed release.",
    ("group", "version", "resource", "subresource", "removed_release"),
)
_BUILD_INFO = metrics.gauge(
    "kubernetes_build_info",
    "Always 1; the labels say what this is.",
    (
        *("major", "minor", "git_version", "git_commit", "git_tree_state", "build_date"),
        *("go_version", "compiler", "platform"),
    ),
)

#: kube-apiserver's bounds, in seconds and bytes.
DURATIONS = (
    *(0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0),
    *(4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0),
)
SIZES = tuple(10.0**power for power in range(3, 10))
ADMISSION = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5)

#: Kinds of requests, and label values of timings, that are told apart at most.
_MOST_KINDS = 10_000
#: What is asked of a resource; another method, or one that the path does not take, is a request for no resource.
_ASKED = frozenset(
    {"get", "list", "watch", "create", "update", "patch", "apply", "delete", "deletecollection"}
)
#: Methods and verbs that kube-apiserver tells apart (apiserver's ``validRequestMethods``).
_METHODS = frozenset(
    {
        *("APPLY", "CONNECT", "CREATE", "DELETE", "DELETECOLLECTION", "GET", "HEAD", "LIST", "PATCH", "POST"),
        *("PROXY", "PUT", "UPDATE", "WATCH", "WATCHLIST"),
    }
)
_OTHER = "other"

_VERBS = {"get": "GET", "list": "LIST", "create": "POST", "update": "PUT"}
_CONNECTIONS = frozenset({"log", "exec", "attach", "portforward", "proxy"})
_COMPONENT = "apiserver"
_WHAT = ("group", "version", "resource", "subresource", "scope", "component")


class Tally:
    """A histogram: how many values lie below each bound, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, once or more often."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def buckets(self) -> list[tuple[str, float]]:
        """(bound, how many are at most that), as Prometheus shows it."""
        uppers = [f"{bound:g}" for bound in self.bounds] + ["+Inf"]
        return list(zip(uppers, map(float, accumulate(self.counts)), strict=True))

    def added(self, other: Tally, sign: int = 1) -> Tally:
        """This and ``other``, which has the same bounds; with a ``sign`` of -1 this without ``other``."""
        tally = Tally(self.bounds)
        tally.counts = [one + sign * two for one, two in zip(self.counts, other.counts, strict=True)]
        tally.total = self.total + sign * other.total
        return tally


class Served:
    """What is counted of one kind of request."""

    __slots__ = ("codes", "durations", "labels", "shortened", "sizes", "terminated")

    def __init__(self, labels: tuple[str, ...], *, sized: bool) -> None:
        """``labels``: verb, dry run, group, version, resource, subresource, scope."""
        self.labels = labels
        self.codes: dict[int, int] = {}
        self.durations = Tally(DURATIONS)
        #: Of requests that waited for their turn: (with, without the waiting).
        self.shortened: tuple[Tally, Tally] | None = None
        self.sizes = Tally(SIZES) if sized else None
        self.terminated: dict[int, int] | None = None

    def observe(self, code: int, seconds: float, size: int = 0, waited: float = 0.0) -> None:
        """A request was answered: ``size`` bytes after ``seconds``, ``waited`` of them for its turn."""
        codes = self.codes
        codes[code] = codes.get(code, 0) + 1
        durations = self.durations
        durations.counts[bisect_left(DURATIONS, seconds)] += 1
        durations.total += seconds
        sizes = self.sizes
        if sizes is not None:
            sizes.counts[bisect_left(SIZES, size)] += 1
            sizes.total += size
        if waited > 0.0:
            if self.shortened is None:
                self.shortened = (Tally(DURATIONS), Tally(DURATIONS))
            self.shortened[0].observe(seconds)
            self.shortened[1].observe(seconds - waited)

    def own_durations(self) -> Tally:
        """How long requests took without waiting for their turn. Not to be changed."""
        if self.shortened is None:
            return self.durations
        whole, short = self.shortened
        return self.durations.added(whole, -1).added(short)

    def count(self, code: int) -> None:
        """A request of a component in this process was answered: it has no duration of its own."""
        codes = self.codes
        codes[code] = codes.get(code, 0) + 1

    def terminate(self, code: int) -> None:
        """A request was ended in self-defense: too many, or it took too long."""
        if self.terminated is None:
            self.terminated = {}
        self.terminated[code] = self.terminated.get(code, 0) + 1


_served: dict[tuple[str, GVR, str, str, bool], Served] = {}
_others: dict[tuple[str, str], Served] = {}
_deprecated: set[tuple[GVR, str]] = set()


def of(
    verb: str,
    resource: GVR,
    subresource: str,
    namespace: str,
    name: str,
    dry_run: bool,
    known: Callable[[GVR, str], bool],
) -> Served:
    """Where requests of a kind are counted. ``known`` says whether a resource with a subresource is served."""
    scope = "resource" if name or verb == "create" else "namespace" if namespace else "cluster"
    key = (verb, resource, subresource, scope, dry_run)
    served = _served.get(key)
    if served is None:
        if verb not in _ASKED or not known(resource, subresource) or len(_served) >= _MOST_KINDS:
            return other(verb, "")
        served = _served[key] = Served(_labels(*key), sized=verb in ("get", "list"))
    return served


def other(method: str, path: str) -> Served:
    """Where requests for what is no resource are counted; ``path`` is one of few, or empty."""
    shown = _VERBS.get(method, method.upper())
    if shown not in _METHODS:
        shown = _OTHER
    served = _others.get((shown, path))
    if served is None:
        served = _others[shown, path] = Served((shown, "", "", "", "", path, ""), sized=False)
    return served


def _labels(verb: str, resource: GVR, subresource: str, scope: str, dry_run: bool) -> tuple[str, ...]:
    shown = "CONNECT" if subresource in _CONNECTIONS else _VERBS.get(verb, verb.upper())
    return (shown, "All" if dry_run else "", *resource, subresource, scope)


def deprecated(resource: GVR, subresource: str) -> None:
    """A deprecated API was asked for. None of those served today has a release in which it goes."""
    if (resource, subresource) not in _deprecated:
        _deprecated.add((resource, subresource))
        DEPRECATED.labels(*resource, subresource, "").set(1)


class Timings:
    """Tallies by label values: for what is timed beside requests."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...], bounds: Sequence[float]) -> None:
        self.name, self.text, self.labels, self.bounds = name, text, labels, bounds
        self.tallies: dict[tuple[str, ...], Tally] = {}

    def observe(self, labels: tuple[str, ...], value: float, times: int = 1) -> None:
        """Count a value, once or more often."""
        tally = self.tallies.get(labels)
        if tally is None:
            if len(self.tallies) >= _MOST_KINDS:
                labels = ("",) * len(labels)
            tally = self.tallies.setdefault(labels, Tally(self.bounds))
        tally.observe(value, times)

    def family(self) -> Iterator[str]:
        """As Prometheus shows it."""
        series = ((labels, tally.counts, tally.total) for labels, tally in self.tallies.items())
        return metrics.histogram_text(self.name, self.text, self.labels, self.bounds, series)


ADMISSION_STEPS = Timings(
    "apiserver_admission_step_admission_duration_seconds",
    "How long admission took, by step (admit or validate), operation and whether it refused.",
    ("type", "operation", "rejected"),
    ADMISSION,
)
WATCH_LISTS = Timings(
    "apiserver_watch_list_duration_seconds",
    "How long watches took to show what there was when they began, where they asked for that.",
    ("group", "version", "resource", "scope"),
    (*DURATIONS[2:], 90.0, 120.0, 180.0, 300.0),
)
STORED = Timings(
    "etcd_request_duration_seconds",
    "How long the store took to write, by operation and resource.",
    ("operation", "group", "resource"),
    DURATIONS,
)


def build_info(version: Mapping[str, str]) -> None:
    """Show ``/version``'s facts."""
    shown = {
        "major": "major",
        "minor": "minor",
        "git_version": "gitVersion",
        "git_commit": "gitCommit",
        "git_tree_state": "gitTreeState",
        "build_date": "buildDate",
        "go_version": "goVersion",
        "compiler": "compiler",
        "platform": "platform",
    }
    _BUILD_INFO.labels(*(version[name] for name in shown.values())).set(1)


class _Requests(Collector):
    """The families made of what was counted."""

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        served = [*_served.values(), *_others.values()]
        yield _totals(served)
        yield _terminations(served)


def _totals(served: Iterable[Served]) -> Metric:
    text = "Requests by verb, dry run, group, version, resource, subresource, scope, component and HTTP code."
    family = CounterMetricFamily("apiserver_request", text, labels=("verb", "dry_run", *_WHAT, "code"))
    for each in served:
        for code, count in each.codes.items():
            family.add_metric((*each.labels, _COMPONENT, str(code)), count)
    return family


def _terminations(served: Iterable[Served]) -> Metric:
    text = "Requests that were ended in self-defense: too many, or not done in time."
    family = CounterMetricFamily("apiserver_request_terminations", text, labels=("verb", *_WHAT, "code"))
    for each in served:
        for code, count in (each.terminated or {}).items():
            family.add_metric((each.labels[0], *each.labels[2:], _COMPONENT, str(code)), count)
    return family


def _histograms() -> Iterator[str]:
    served = [*_served.values(), *_others.values()]
    yield from _durations(served)
    yield from _own_durations(served)
    yield from _sizes(served)
    for timings in (ADMISSION_STEPS, STORED, WATCH_LISTS):
        yield from timings.family()


def _durations(served: Iterable[Served]) -> Iterator[str]:
    text = "How long requests took."
    name = "apiserver_request_duration_seconds"
    series = (((*each.labels, _COMPONENT), each.durations.counts, each.durations.total) for each in served)
    return metrics.histogram_text(name, text, ("verb", "dry_run", *_WHAT), DURATIONS, series)


def _own_durations(served: Iterable[Served]) -> Iterator[str]:
    text = "How long requests took, without waiting for their turn."
    name = "apiserver_request_sli_duration_seconds"
    merged: dict[tuple[str, ...], Tally] = {}
    for each in served:
        labels = (each.labels[0], *each.labels[2:], _COMPONENT)
        known = merged.get(labels)
        merged[labels] = each.own_durations() if known is None else known.added(each.own_durations())
    series = ((labels, tally.counts, tally.total) for labels, tally in merged.items())
    return metrics.histogram_text(name, text, ("verb", *_WHAT), DURATIONS, series)


def _sizes(served: Iterable[Served]) -> Iterator[str]:
    text = "Bytes of responses to reads."
    series = (
        ((each.labels[0], *each.labels[2:], _COMPONENT), each.sizes.counts, each.sizes.total)
        for each in served
        if each.sizes is not None
    )
    return metrics.histogram_text("apiserver_response_sizes", text, ("verb", *_WHAT), SIZES, series)


metrics.REGISTRY.register(_Requests())
metrics.write(_histograms)


def exposition() -> bytes:
    """The text of ``/metrics``."""
    return metrics.exposition()
