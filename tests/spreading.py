"""How the whole suite is spread over processes: what waits long begins first, what shares a server stays together."""

from __future__ import annotations

import os
from typing import Any

import pytest

FIRST = ("dashboards", "e2e", "notifications", "packaging", "rules", "property", "faults")
"""Folders whose tests start servers, install packages or try many examples, the longest first."""
TOGETHER = ("dashboards",)
"""Folders whose tests share a server that takes long to start; of all others, the tests of a file stay together."""

MOST = 4
"""More processes would only wait for the longest files; and a container may have less time than it sees cores."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process more than there are cores, as one is always waiting; tests that are named run in this process."""
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return min(len(os.sched_getaffinity(0)) + 1, MOST) if whole else 0


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the tests as they are handed out; within a folder they stay shuffled."""
    if hasattr(config, "workerinput"):
        ranks = {name: rank for rank, name in enumerate(FIRST)}
        items.sort(key=lambda item: ranks.get(_folder(item.nodeid), len(ranks)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Hands out whole files, or all of a folder, in the order in which they were collected."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            folder = _folder(nodeid)
            return folder if folder in TOGETHER else super()._split_scope(nodeid)

    config.option.loadscopereorder = False
    return Scheduling(config, log)


def _folder(nodeid: str) -> str:
    """The folder of a test below `tests`."""
    return nodeid.split("/", 2)[1]
