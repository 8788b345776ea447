"""Who runs when, and who notices that they did not: one thread per source, one for the cycle."""

from exporter.scheduler.feed import AHEAD, Feed, Key
from exporter.scheduler.loop import Scheduler

__all__ = ["AHEAD", "Feed", "Key", "Scheduler"]
