"""Ten million remembered predictions: size, look-ups, reopening after a kill; LMDB does the same look-ups."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BATCH = 10_000
LOOKUPS = 500_000


def keys(count: int) -> NDArray[np.uint64]:
    return np.random.default_rng(11).integers(0, 2**64, size=(count, 2), dtype=np.uint64)


def fill_and_die(path: Path, count: int) -> None:
    """Remember *count* predictions in batches, each committed, and die by SIGKILL."""
    from exporter.contracts import RECORD, UNKNOWN
    from exporter.state import State

    state = State(path)
    table = state.table("bench")
    ids = keys(count)
    for at in range(0, count, 10 * BATCH):
        part = np.zeros(min(10 * BATCH, count - at), RECORD)
        part["key"], part["time"], part["actual"] = ids[at : at + len(part)], at, UNKNOWN
        table.remember(part)
        state.commit({"cursor": str(at).encode()})
    os.kill(os.getpid(), signal.SIGKILL)


def exporter(path: Path, count: int) -> dict[str, float]:
    """Bytes per row, look-ups per CPU second in random order, and seconds to reopen after the kill."""
    from exporter.state import State

    size = sum(file.stat().st_blocks * 512 for file in path.rglob("*") if file.is_file())
    begun = time.perf_counter()
    state = State(path)
    table = state.table("bench")
    opened = time.perf_counter() - begun
    ids = keys(count)
    wanted = np.random.default_rng(5).permutation(count)[:LOOKUPS]
    begun = time.process_time()
    for at in range(0, LOOKUPS, BATCH):
        slots, found = table.look(ids[wanted[at : at + BATCH]])
        assert (slots == wanted[at : at + BATCH]).all()
        assert len(found) == BATCH
    seconds = time.process_time() - begun
    state.close()
    return {"bytes": size / count, "lookups": LOOKUPS / seconds, "reopen": opened}


def lmdb(path: Path, count: int) -> dict[str, float]:
    """Look-ups per CPU second of LMDB with the same keys and records."""
    import lmdb as library

    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    store = library.open(str(path), map_size=8 << 30, sync=False, writemap=True, readahead=False)
    texts = [key.tobytes() for key in keys(count)]
    record = bytes(34)
    for at in range(0, count, 1_000_000):
        with store.begin(write=True) as change:
            change.cursor().putmulti(sorted((key, record) for key in texts[at : at + 1_000_000]))
    wanted = np.random.default_rng(5).permutation(count)[:LOOKUPS].tolist()
    begun = time.process_time()
    for at in range(0, LOOKUPS, BATCH):
        with store.begin() as view:
            found = view.cursor().getmulti(sorted(texts[i] for i in wanted[at : at + BATCH]))
            assert len(found) == BATCH
    seconds = time.process_time() - begun
    store.close()
    shutil.rmtree(path)
    return {"lookups": LOOKUPS / seconds}
