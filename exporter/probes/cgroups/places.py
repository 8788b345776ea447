"""Where the cgroups of a process are: its path in each hierarchy, and the folder in which that can be read.

The path of a process in /proc/PID/cgroup is relative to the hierarchy, or to the namespace of whoever reads it; what
is mounted may be only a part of the hierarchy.  Both are settled by /proc/PID/mountinfo.  Where the exporter's own
mount does not show the cgroup of another container, that container's mount is looked at through /proc/PID/root.
"""

# Paths stay texts, as in the files that they come from.
# ruff: noqa: PTH110, PTH112, PTH118, PTH120, PTH208

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

CONTROLLERS: Final = ("cpu", "cpuacct", "cpuset", "memory", "pids")
_UNIFIED: Final = ""
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Place:
    """One cgroup in one hierarchy, of cgroup version 1 or 2; `top` is the folder above which nothing is visible."""

    version: int
    folder: str
    top: str

    def upwards(self) -> Iterator[str]:
        """The folder and those of its parents, as far as they are visible."""
        folder = self.folder
        yield folder
        while folder != self.top:
            folder = os.path.dirname(folder)
            yield folder


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted hierarchy: the part *root* of it is seen in *folder*; controllers are empty for version 2."""

    folder: str
    root: str
    controllers: frozenset[str]

    def shows(self, hierarchy: str) -> bool:
        """Whether this is the hierarchy of that controller, or that of version 2 for the empty name."""
        return hierarchy in self.controllers if hierarchy else not self.controllers

    def place(self, path: str) -> Place | None:
        """Where the cgroup *path* is, None if this mount does not show it."""
        if path == self.root:
            return Place(self._version, self.folder, self.folder)
        below = path.removeprefix(self.root.rstrip("/") + "/")
        if below == path or ".." in below.split("/"):
            return None
        return Place(self._version, os.path.join(self.folder, below), self.folder)

    @property
    def _version(self) -> int:
        return 1 if self.controllers else 2


def mounts(mountinfo: str, below: str, seen_from: str = "") -> list[Mount]:
    """The cgroup mounts of a /proc/PID/mountinfo at or below the folder *below*, itself reached at *seen_from*.

    A folder that is no mount, such as a copy of one, is taken to show whole hierarchies.
    """
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.partition(" ")
        if kind not in ("cgroup", "cgroup2"):
            continue
        root, folder = (_OCTAL.sub(lambda code: chr(int(code[1], 8)), word) for word in before.split(" ")[3:5])
        if folder == below or folder.startswith(below.rstrip("/") + "/"):
            controllers = frozenset(options.rpartition(" ")[2].split(",")) & frozenset(CONTROLLERS)
            if controllers or kind == "cgroup2":
                found.append(Mount(seen_from + folder, root, controllers if kind == "cgroup" else frozenset()))
    return found or list(_folders(seen_from + below))


def _folders(top: str) -> Iterator[Mount]:
    for folder in (top, os.path.join(top, "unified")):
        if os.path.exists(os.path.join(folder, "cgroup.controllers")):
            yield Mount(folder, "/", frozenset())
    for name in sorted(os.listdir(top)) if os.path.isdir(top) else ():
        controllers = frozenset(name.split(",")) & frozenset(CONTROLLERS)
        if controllers:
            yield Mount(os.path.join(top, name), "/", controllers)


def memberships(cgroup: str) -> dict[str, str]:
    """Path by controller out of a /proc/PID/cgroup; that of version 2 stands under the empty name."""
    paths = {}
    for line in cgroup.splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        for name in names.split(","):
            paths[name] = path
    return paths


def places(paths: dict[str, str], seen: list[Mount]) -> dict[str, Place]:
    """The place by controller: in the hierarchy of version 1 that has it, else in that of version 2."""
    found = {}
    for controller in CONTROLLERS:
        hierarchy = controller if controller in paths else _UNIFIED
        seats = (mount.place(paths[hierarchy]) for mount in seen if mount.shows(hierarchy) and hierarchy in paths)
        place = next(filter(None, seats), None)
        if place is not None:
            found[controller] = place
    return found


def at(path: str, seen: list[Mount]) -> dict[str, Place]:
    """The places of the cgroup *path*, given below the mounts, by controller: as many as exist."""
    found: dict[str, Place] = {}
    for mount in sorted(seen, key=lambda mount: not mount.controllers):
        folder = os.path.join(mount.folder, path.strip("/")).rstrip("/")
        if os.path.isdir(folder):
            place = Place(1 if mount.controllers else 2, folder, mount.folder)
            for controller in mount.controllers or CONTROLLERS:
                found.setdefault(controller, place)
    return found
