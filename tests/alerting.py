"""Alertmanager's shipped files, its real program, and who hears it: a mail server and a webhook."""

from __future__ import annotations

import email
import email.policy
import json
import re
import shutil
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from dataclasses import dataclass
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.running import wait_for

RULES = Path(__file__).resolve().parents[1] / "alert_rules"
SHIPPED = (RULES / "alertmanager.yml").read_text()


@dataclass(frozen=True)
class Example:
    """A shipped file of the user's own, in which all is commented out."""

    text: str

    @property
    def sections(self) -> list[str]:
        """The examples without their `# `, each from its own headline on; those for newer versions are left out."""
        parts = re.split(r"(?m)^# --- .*\n", self.text)[1:]
        return [re.sub(r"(?m)^# ?(?!#)", "", part) for part in parts if not part.strip().startswith("##")]

    @property
    def active(self) -> str:
        """All examples at once."""
        return "".join(self.sections)

    @property
    def newer(self) -> str:
        """The examples that need a newer Alertmanager."""
        return "".join(re.findall(r"(?m)^## (.*\n)", self.text))


EXAMPLES = {name: Example((RULES / name).read_text()) for name in ("receivers.yml", "overrides.yml")}


def free_address() -> str:
    """A HOST:PORT of the loopback on which nobody listens yet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


class Mailbox:
    """A real SMTP server that keeps what it is sent, in order; to be used in a `with`."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.address = free_address()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"

    def __enter__(self) -> Self:
        from aiosmtpd.controller import Controller

        host, port = self.address.split(":")
        self._controller = Controller(self, hostname=host, port=int(port))
        self._controller.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._controller.stop()

    def subjects(self) -> list[str]:
        return [str(mail["Subject"]) for mail in list(self.mails)]


class Webhook:
    """A real HTTP server that keeps what is posted to it, by path; to be used in a `with`."""

    def __init__(self) -> None:
        self.posts: dict[str, list[Any]] = {}
        self.headers: dict[str, list[Any]] = {}
        keep = self._keep

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                keep(self.path, self.headers, self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.send_response(202)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")  # Slack's word for it

            def log_message(self, *words):
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _keep(self, path: str, headers: Any, text: str) -> None:
        """JSON, or the fields of a form."""
        posted = json.loads(text) if text.startswith("{") else dict(urllib.parse.parse_qsl(text))
        self.headers.setdefault(path, []).append(headers)
        self.posts.setdefault(path, []).append(posted)

    def heard(self, path: str) -> list[Any]:
        """What was posted to *path* so far."""
        return list(self.posts.get(path, ()))


class Server:
    """One of Debian's programs, running in *folder* with its output in a file there; to be used in a `with`."""

    def __init__(self, folder: Path, program: Path, *words: str) -> None:
        self.folder, self.command = folder, [program, *words]
        self.address = free_address()
        self.log = folder / f"{program.name}.log"

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*self.command, f"--web.listen-address={self.address}"],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_for(self._ready, 30, "ready")
        except BaseException:
            self.__exit__()
            raise
        return self

    def _ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, path: str, body: Any = None, **words: str) -> Any:
        """The JSON that *path* answers, to a POST of *body* if there is one."""
        query = f"?{urllib.parse.urlencode(words)}" if words else ""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://{self.address}{path}{query}", data, headers)
        with urllib.request.urlopen(request, timeout=10) as response:
            text = response.read()
        return json.loads(text) if text else None


class Alertmanager(Server):
    """A real Alertmanager on the configuration *text*, with the shipped templates beside it."""

    def __init__(self, folder: Path, program: Path, text: str) -> None:
        folder.mkdir(exist_ok=True)
        shutil.copytree(RULES / "templates", folder / "templates", dirs_exist_ok=True)
        (folder / "alertmanager.yml").write_text(text)
        super().__init__(
            folder,
            program,
            "--config.file=alertmanager.yml",
            "--storage.path=data",
            "--cluster.listen-address=",
            "--web.external-url=http://alertmanager.example.org:9093",
        )

    def alert(self, *alerts: dict[str, Any]) -> None:
        """Post *alerts*, each a mapping of the API: labels, annotations, startsAt, endsAt."""
        self.ask("/api/v2/alerts", list(alerts))

    def suppressed(self) -> list[dict[str, str]]:
        """The labels of all alerts that others inhibit."""
        return [one["labels"] for one in self.ask("/api/v2/alerts") if one["status"]["inhibitedBy"]]
