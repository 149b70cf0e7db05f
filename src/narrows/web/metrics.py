"""What a monitoring system asks for, in Prometheus's text format."""

import os
from collections import Counter
from pathlib import Path

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)
# Strangers make up others, as many as they like.
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


class Metrics:
    """Counts of requests by route and status, how long they took, and sizes of batches."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds = _Histogram(_BOUNDS)
        self._batches = _Histogram(_SIZES)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        method = method if method in _METHODS else "other"
        self._requests[method, route, status] += 1
        self._seconds.add(seconds)

    def batch(self, size: int) -> None:
        """Count one batch."""
        self._batches.add(size)

    def text(self, pictures: int) -> str:
        """Return everything as text."""
        lines = ["# TYPE narrows_requests_total counter"]
        lines += [
            f'narrows_requests_total{{method="{method}",route="{route}",status="{status}"}} {n}'
            for (method, route, status), n in sorted(self._requests.items())
        ]
        lines += self._seconds.lines("narrows_request_seconds")
        lines += self._batches.lines("narrows_batch_size")
        lines += ["# TYPE narrows_pictures gauge", f"narrows_pictures {pictures}"]
        lines += ["# TYPE narrows_memory_bytes gauge", f"narrows_memory_bytes {_memory()}"]
        return "\n".join(lines) + "\n"


class _Histogram:
    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * len(bounds)
        self._count, self._sum = 0, 0.0

    def add(self, value: float) -> None:
        self._count += 1
        self._sum += value
        for place, bound in enumerate(self._bounds):
            self._counts[place] += value <= bound

    def lines(self, name: str) -> list[str]:
        pairs = [*zip(map(str, self._bounds), self._counts, strict=True), ("+Inf", self._count)]
        return [
            f"# TYPE {name} histogram",
            *(f'{name}_bucket{{le="{bound}"}} {count}' for bound, count in pairs),
            f"{name}_sum {self._sum:.6f}",
            f"{name}_count {self._count}",
        ]


def _memory() -> int:
    """Return the bytes that this process has in memory, 0 where the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
