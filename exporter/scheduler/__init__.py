"""Who runs when, and who notices that they did not: one thread per source and per probe, one for the cycle."""

from exporter.scheduler.feed import AHEAD, Feed, Key
from exporter.scheduler.loop import Scheduler
from exporter.scheduler.watching import Watcher

__all__ = ["AHEAD", "Feed", "Key", "Scheduler", "Watcher"]
