"""The image, built and run: python tests/longer/image.py [--base IMAGE]

Needs root, Debian's podman, runc and debootstrap (they are installed if they are missing), the package index and a
Debian mirror; takes five to ten minutes and 5 GB in the temporary folder, and leaves nothing there, only the bridge of
podman's network. Not part of .ci/run. Without a registry, the base is made by debootstrap and given to the build as
BASE, like any other.

Prints one line for each thing that holds, and fails at the first that does not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "localhost/model-exporter"
PROMETHEUS = "deploy/prometheus/prometheus.yml"
PACKAGES = ("podman", "runc", "debootstrap")
BASE_PACKAGES = "python3,python3-venv,ca-certificates"
CONFINED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp")
"""What docker-compose.yml says in its own words."""
LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000")
"""Not above those of the machine, which runc may not be allowed to raise."""
HOSTS_OWN = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")
"""Lent to the build, so that a company's own authority and index hold within it."""


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def run(*words: str | Path, **options: Any) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout.strip()


class Podman:
    """Podman with a storage of its own, by the means that work without an overlay file system and without systemd."""

    def __init__(self, folder: Path) -> None:
        self.words = [
            "podman", f"--root={folder / 'storage'}", f"--runroot={folder / 'run'}", "--storage-driver=vfs",
            "--cgroup-manager=cgroupfs", "--runtime=runc", "--events-backend=file",
        ]  # fmt: skip

    def __call__(self, *words: str | Path) -> str:
        return run(*self.words, *words)

    def build(self, context: Path, base: str, tag: str) -> None:
        lent = [f"--volume={path}:{path}:ro" for path in HOSTS_OWN if Path(path).exists()]
        # Docker's own image format, because the other one has no health check; without layers, each of which would be
        # a copy of everything.
        self("build", "--format=docker", "--layers=false", "--network=host", *LIMITS, *lent,
             f"--build-arg=BASE={base}", f"--tag={tag}", context)  # fmt: skip

    @contextlib.contextmanager
    def container(self, image: str, *words: str) -> Iterator[tuple[str, str]]:
        """A confined container of *image*, and the address at which the host reaches its port."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        name = self("run", "--detach", "--no-healthcheck", *CONFINED, *LIMITS, f"--publish={address}:9884",
                    image, *words)  # fmt: skip
        try:
            yield name, address
        finally:
            self("rm", "--force", "--time=10", "--volumes", name)


def debian_base(podman: Podman, folder: Path) -> str:
    """A base with Debian's Python, as an image."""
    say("making a base by debootstrap ...")
    run("debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", "bookworm", folder / "root")
    packed = folder / "root.tar"
    run("tar", "--directory", folder / "root", "--create", "--one-file-system", "--file", packed, ".")
    podman("import", packed, "localhost/base")
    return "localhost/base"


def get(address: str, path: str) -> str:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as response:
        return str(response.read().decode())


def wait(answer: Callable[[], Any]) -> Any:
    """The first *answer* that is one, within a minute."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            if found := answer():
                return found
        time.sleep(0.5)
    sys.exit("nothing within a minute")


def hold(what: str, *, true: object) -> None:
    if not true:
        sys.exit(f"does not hold: {what}")
    say(f"holds: {what}")


def check_running(podman: Podman, image: str) -> None:
    """The demo in a confined container, seen from outside and inside."""
    demo = ("demo", "/var/lib/model-exporter/demo", "--web.listen-address", ":9884")
    with podman.container(image, *demo) as (name, address):
        wait(lambda: get(address, "/-/ready"))
        hold("ready on a read-only root without any capability", true=True)
        identity = podman("exec", name, "id")
        hold(f"runs as nobody: {identity}", true="uid=65534(" in identity and "gid=65534(" in identity)
        status = podman("exec", name, "cat", "/proc/1/status")
        hold("has no capability, and can get none", true=re.findall(r"Cap(?:Eff|Bnd|Prm):\t0+\n", status)[2:])
        hold("may not gain privileges", true="NoNewPrivs:\t1" in status)
        refused = subprocess.run(
            [*podman.words, "exec", name, "touch", "/anything"], capture_output=True, text=True, check=False
        )
        hold("cannot write to its root", true="Read-only file system" in refused.stderr)
        matched = wait(lambda: re.search(r'_joins_total\{.*"matched"\} ([1-9]\d*)', get(address, "/metrics")))
        hold(f"scraped from outside: {matched[1]} predictions met their labels", true=True)
        told = json.loads(podman("image", "inspect", image))[0]
        health = told["HealthCheck" if "HealthCheck" in told else "Healthcheck"]["Test"]
        podman("exec", name, *health[1:])
        hold("its health check passes", true=True)
        podman("stop", "--time=10", name)
        code = podman("inspect", "--format={{.State.ExitCode}}", name)
        hold("stops on SIGTERM with exit code 0", true=code == "0")


def check_bundle(podman: Podman, image: str, base: str, folder: Path) -> None:
    """The image's own wheel writes a bundle, whose Dockerfile builds the image again from a wheel beside it."""
    out = folder / "bundle"
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    podman("run", "--rm", *CONFINED, *LIMITS, "--network=none", f"--volume={out}:/out", image, "bundle", "/out")
    same = all((out / name).read_text() == (ROOT / name).read_text() for name in ("docker-compose.yml", PROMETHEUS))
    hold("writes the bundle", true=same)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out, ROOT)
    podman.build(out, base, "localhost/from-bundle")
    version = podman("run", "--rm", *CONFINED, *LIMITS, "--network=none", "localhost/from-bundle", "--version")
    hold(f"the bundle's Dockerfile builds from a wheel: {version}", true=version.startswith("model-exporter "))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", help="an image with Python 3.11 or later; default: one made by debootstrap")
    wanted = parser.parse_args().base
    if os.geteuid():
        sys.exit("debootstrap and runc want root here")
    if missing := [package for package in PACKAGES if not shutil.which(package)]:
        say(f"installing {', '.join(missing)} ...")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        run("apt-get", "install", "--yes", "--quiet", *missing, env=quiet)
    with tempfile.TemporaryDirectory(prefix="model-exporter-image-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        podman = Podman(folder)
        base = wanted or debian_base(podman, folder)
        say("building ...")
        podman.build(ROOT, base, IMAGE)
        hold("the image builds", true=True)
        check_running(podman, IMAGE)
        check_bundle(podman, IMAGE, base, folder)
    say("all of it holds")


if __name__ == "__main__":
    main()
