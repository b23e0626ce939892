"""What the API server counts of requests, under Kubernetes' names and labels.

    served = of("list", PODS, "", "default", "", False, known)     once a kind of request: the rest is a look into a dict
    served.observe(200, seconds, size)                           some additions: no locks, no labels to look up

Everything is counted on the loop's thread. What Prometheus sees is made of it when somebody asks (``_Requests``), as
is what needs no counting at all (``census``). Several servers in one process add up.

What clients make up (resources and subresources that nobody serves) is counted under empty names, so that nobody can
fill the memory with labels.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
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
        found: list[tuple[str, float]] = []
        reached = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            reached += count
            found.append(("+Inf" if bound == float("inf") else f"{bound:g}", float(reached)))
        return found


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
        if not known(resource, subresource):
            return other(verb, "")
        served = _served[key] = Served(_labels(*key), sized=verb in ("get", "list"))
    return served


def other(method: str, path: str) -> Served:
    """Where requests for what is no resource are counted; ``path`` is one of few, or empty."""
    served = _others.get((method, path))
    if served is None:
        labels = (_VERBS.get(method, method.upper()), "", "", "", "", path, "")
        served = _others[method, path] = Served(labels, sized=False)
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
            tally = self.tallies[labels] = Tally(self.bounds)
        tally.observe(value, times)

    def family(self) -> HistogramMetricFamily:
        """As Prometheus shows it."""
        family = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        for labels, tally in self.tallies.items():
            family.add_metric(labels, buckets=tally.buckets(), sum_value=tally.total)
        return family


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
        yield _durations(served)
        yield _own_durations(served)
        yield _sizes(served)
        yield ADMISSION_STEPS.family()
        yield STORED.family()
        yield WATCH_LISTS.family()


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


def _durations(served: Iterable[Served]) -> Metric:
    text = "How long requests took."
    name = "apiserver_request_duration_seconds"
    family = HistogramMetricFamily(name, text, labels=("verb", "dry_run", *_WHAT))
    for each in served:
        family.add_metric(
            (*each.labels, _COMPONENT), buckets=each.durations.buckets(), sum_value=each.durations.total
        )
    return family


def _own_durations(served: Iterable[Served]) -> Metric:
    text = "How long requests took, without waiting for their turn."
    name = "apiserver_request_sli_duration_seconds"
    family = HistogramMetricFamily(name, text, labels=("verb", *_WHAT))
    merged: dict[tuple[str, ...], Tally] = {}
    for each in served:
        labels = (each.labels[0], *each.labels[2:], _COMPONENT)
        own = merged.setdefault(labels, Tally(DURATIONS))
        whole, short = each.shortened or (Tally(DURATIONS), Tally(DURATIONS))
        own.total += each.durations.total - whole.total + short.total
        for place, count in enumerate(each.durations.counts):
            own.counts[place] += count - whole.counts[place] + short.counts[place]
    for labels, tally in merged.items():
        family.add_metric(labels, buckets=tally.buckets(), sum_value=tally.total)
    return family


def _sizes(served: Iterable[Served]) -> Metric:
    text = "Bytes of responses to reads."
    family = HistogramMetricFamily("apiserver_response_sizes", text, labels=("verb", *_WHAT))
    for each in served:
        if each.sizes is not None:
            labels = (each.labels[0], *each.labels[2:], _COMPONENT)
            family.add_metric(labels, buckets=each.sizes.buckets(), sum_value=each.sizes.total)
    return family


metrics.REGISTRY.register(_Requests())


def exposition() -> bytes:
    """The text of ``/metrics``."""
    return metrics.exposition()
