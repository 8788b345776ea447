"""The readings of a tree of processes: their metrics, and the arithmetic from one look to the next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from exporter.contracts import MetricSpec, Reading
from exporter.probes import resources

if TYPE_CHECKING:
    from exporter.probes.tree import Tree

PSS: Final = MetricSpec(
    "model_server_memory_proportional_bytes",
    "gauge",
    "Memory of the process and its workers with shared pages counted once; read at most once a minute.",
)
PROCESSES: Final = MetricSpec(
    "model_server_processes", "gauge", "Living processes of the model server: the first one, and its workers."
)
THREADS: Final = MetricSpec("model_server_threads", "gauge", "Threads of the process and its workers.")
FILES: Final = MetricSpec(
    "model_server_open_files_used", "gauge", "Open files of that process of the tree that is nearest to its own limit."
)
FILES_LIMIT: Final = MetricSpec("model_server_open_files_limit", "gauge", "Files that this process may open.")
FILES_RATIO: Final = MetricSpec(
    "model_server_open_files_utilization_ratio", "gauge", "Open files by the files that may be open."
)
SPECS: Final = (*resources.CPU, *resources.MEMORY, PSS, PROCESSES, THREADS, FILES, FILES_LIMIT, FILES_RATIO)


class Account:
    """CPU seconds over one tree after the other, as one counter, and the other readings of the tree of the moment."""

    def __init__(self) -> None:
        self._former: float | None = None
        self._counted = 0.0
        self._pace = resources.Pace()

    def begin(self, tree: Tree, *, new: bool) -> None:
        """*tree* follows; what it has used before counts unless it is not *new*, but was merely watched by nobody."""
        self._counted = 0.0 if new else tree.usage().cpu

    def end(self, tree: Tree) -> None:
        """*tree* is followed no more; what it has used stays counted."""
        self._former = self._total(tree.usage().cpu)

    def _total(self, seconds: float) -> float:
        return (self._former or 0.0) - self._counted + seconds

    def readings(self, tree: Tree, moment: float) -> Iterator[Reading]:
        """All readings of a living *tree* at *moment* (monotonic seconds)."""
        used = tree.usage()
        total, cores = self._total(used.cpu), tree.cores()
        ratio = self._pace.ratio(str(tree.root.identity), moment, total, cores)
        yield from resources.cpu("process", total, cores, ratio)
        yield from resources.memory("process", used.resident, tree.machine_memory)
        yield from resources.reading(PSS, (), tree.proportional())
        yield Reading(PROCESSES.name, (), float(used.processes))
        yield Reading(THREADS.name, (), float(used.threads))
        yield from resources.reading(FILES, (), used.files)
        if used.files is not None and used.files_limit:
            yield Reading(FILES_LIMIT.name, (), float(used.files_limit))
            yield Reading(FILES_RATIO.name, (), used.files / used.files_limit)

    def absent(self) -> Iterator[Reading]:
        """What is still known while there is no process."""
        yield from resources.cpu("process", self._former, None, None)
        yield Reading(PROCESSES.name, (), 0.0)
