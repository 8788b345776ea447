"""Words on the command line to one call into the rooms below."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from exporter import __version__
from exporter.config.faults import nearest
from exporter.errors import ConfigError, ExporterError
from exporter.telemetry import configure_logging

if TYPE_CHECKING:
    from exporter.app import Options
    from exporter.probes.supervisor import Supervisor

OK, FAILED, USAGE, CONFIG = 0, 1, 2, 3
_CONFIG, _ADDRESS, _METRICS = "model-exporter.yml", ":9884", "/metrics"

_EPILOG = """\
examples:
  model-exporter demo                                  see it at work with a real model, in one minute
  model-exporter check model-exporter.yml --read 1000  try a config on real rows, keep nothing
  model-exporter --config.file model-exporter.yml      run it
  model-exporter run --restart -- ./serve --port 80    run the model server, too, and count its crashes
  model-exporter bundle monitoring                     write dashboards, rules and a compose file to monitoring/
  model-exporter thresholds --model fraud              propose thresholds out of the last weeks in Prometheus

exit codes:
  0  done, or stopped by SIGTERM or SIGINT; `run`: that of the command if it ended by itself
  1  could not run: the port is in use, the state folder is locked or not writable, or
     check --read could not read a source, thresholds could not read Prometheus
  2  the command line is wrong
  3  the config is missing or wrong; every fault is listed with its line
  4  check --read could use no row of a source, or no label found its prediction; thresholds found too little
     history to propose any

signals: SIGHUP reads the config again; a faulty one is reported, and the old one runs on. `run` passes SIGHUP,
SIGQUIT, SIGUSR1 and SIGUSR2 on to its command; SIGTERM and SIGINT stop the command by SIGTERM, then the exporter.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has seen enough, and Python shall not complain at its end either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return code


def _run(arguments: Sequence[str] | None) -> int:
    parser = _parser()
    words = sys.argv[1:] if arguments is None else list(arguments)
    at = words.index("--") if "run" in words and "--" in words else len(words)
    ours = words[:at] if "run" in words[:at] else words
    _refuse_unknown_flags(parser, ours)
    options = parser.parse_args(ours)
    options.words = words[at + 1 :]
    configure_logging(options.log_level, options.log_format, sys.stderr)
    try:
        return int(options.command(parser, options))
    except ConfigError as error:
        print(error, file=sys.stderr)
        faults = "1 fault" if len(error.faults) == 1 else f"{len(error.faults)} faults"
        print(f"{faults}; nothing was {options.undone}.", file=sys.stderr)
        return CONFIG
    except ExporterError as error:
        print(f"model-exporter: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return OK


def _refuse_unknown_flags(parser: _Parser, words: Sequence[str]) -> None:
    """Before argparse takes the value of a misspelt flag for a command."""
    known = parser.options()
    for word in words:
        flag = word.partition("=")[0]
        if flag.startswith("--") and flag not in known:
            near = nearest(flag, known)
            parser.error(f"there is no {flag}" + (f"; did you mean {near}?" if near else ""))


class _Parser(argparse.ArgumentParser):
    """Takes no flag for the one that it begins like: another one may begin like it tomorrow."""

    def __init__(self, **words: Any) -> None:
        super().__init__(allow_abbrev=False, **words)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, what was probably meant, and where help is."""
        wrong = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        near = nearest(wrong[1], re.findall(r"[\w-]+", wrong[2])) if wrong else None
        self.exit(
            USAGE,
            f"{self.prog}: error: {message}{f'; did you mean {near}?' if near else ''}\ntry {self.prog} --help\n",
        )

    def options(self) -> set[str]:
        """All flags of this parser and of its commands."""
        found = set(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - argparse has no other way to ask
                found.update(*(parser.options() for parser in action.choices.values()))
        return found


def _parser() -> _Parser:
    parser = _Parser(
        prog="model-exporter",
        description="Joins a model's predictions with their late labels and tells Prometheus how good the model is.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = f"model-exporter {__version__}"
    parser.add_argument("--version", action="version", version=version, help="print the version, and end")
    _serving(parser)
    _logging(parser)
    parser.set_defaults(
        command=_serve,
        undone="started",
        config=Path(_CONFIG),
        state=None,
        address=_ADDRESS,
        telemetry_path=_METRICS,
        lifecycle=False,
        log_level="info",
        log_format="logfmt",
    )
    commands = parser.add_subparsers(title="commands", metavar="[COMMAND]", description="without one, it serves")
    _run_command(commands)
    _check_command(commands)
    _demo_command(commands)
    _bundle_command(commands)
    _thresholds_command(commands)
    metrics = commands.add_parser("metrics", help="print the catalogue of all metrics")
    metrics.add_argument("--format", choices=["text", "markdown", "json"], default="text", help="default %(default)s")
    metrics.set_defaults(command=_metrics)
    return parser


def _check_command(commands: argparse._SubParsersAction[_Parser]) -> None:
    check = commands.add_parser("check", help="say all that is wrong with a config, and what it will expose")
    check.add_argument("file", nargs="?", type=Path, metavar="FILE", help="the config; default model-exporter.yml")
    check.add_argument("--schema", action="store_true", help="print a JSON Schema of the config for editors, and end")
    check.add_argument(
        "--read",
        type=int,
        metavar="N",
        help="read up to N rows of each source, keep nothing, and show what became of them",
    )
    check.set_defaults(command=_check)


def _run_command(commands: argparse._SubParsersAction[_Parser]) -> None:
    run = commands.add_parser(
        "run",
        help="run the model server as a child beside the exporter, and count how it ends",
        usage="model-exporter run [options] -- COMMAND [ARGUMENT ...]",
    )
    run.add_argument("--restart", action="store_true", help="start the command again whenever it ends by itself")
    run.add_argument("--target", metavar="NAME", help="the target in the config that the command is; default: the only"
                     " one that has no probe of its life, else server")  # fmt: skip
    _serving(run)
    _logging(run)
    run.set_defaults(command=_supervise)


def _demo_command(commands: argparse._SubParsersAction[_Parser]) -> None:
    demo = commands.add_parser("demo", help="run a real model with late labels, and the exporter beside it")
    demo.add_argument(
        "folder", nargs="?", type=Path, metavar="FOLDER", help="where to keep its files; default: none is kept"
    )
    demo.add_argument(
        "--web.listen-address", dest="address", metavar="ADDRESS", default="127.0.0.1:9884", help="default %(default)s"
    )
    demo.set_defaults(command=_demo)


def _bundle_command(commands: argparse._SubParsersAction[_Parser]) -> None:
    bundle = commands.add_parser(
        "bundle",
        help="write dashboards, rules, notifications and a compose file into a folder",
        description="Writes into DIR what belongs beside the exporter: Grafana dashboards, Prometheus rules and "
        "scrape config, Alertmanager routing, and a compose file with all of it. Run it again after an upgrade, or a "
        "change of your receivers: files that you have changed are kept, and the new ones put beside as FILE.new.",
    )
    bundle.add_argument("folder", type=Path, metavar="DIR", help="made if it is missing")
    bundle.add_argument(
        "--format",
        dest="kind",
        choices=["compose", "kubernetes"],
        default="compose",
        help="compose: files as the programs read them; kubernetes: objects of the Prometheus operator, config maps "
        "for Grafana's sidecar, and examples; default %(default)s",
    )
    bundle.set_defaults(command=_bundle, undone="written")


def _thresholds_command(commands: argparse._SubParsersAction[_Parser]) -> None:
    thresholds = commands.add_parser(
        "thresholds",
        help="propose thresholds out of what the alerts have looked at in the last weeks",
        description="Asks Prometheus for the alerts that it has loaded and for what each looked at in the last weeks, "
        "and finds for each measure the bound at which false alarms come no more often than you accept. Prints the "
        "`models:` of a config, with the evidence as comments, and changes nothing.",
    )
    add = thresholds.add_argument
    add("--prometheus.url", dest="url", metavar="URL", default="http://localhost:9090", help="with its path prefix, if"
        " it has one; default %(default)s")  # fmt: skip
    add("--prometheus.config", dest="access", type=Path, metavar="FILE", help="YAML with auth, headers, timeout and"
        " retries, written as of the source http: auth: {bearer_file: PATH}; for a CA of your own set"
        " REQUESTS_CA_BUNDLE")  # fmt: skip
    add("--model", dest="models", action="append", default=[], metavar="NAME", help="may be given several times;"
        " default all that Prometheus knows")  # fmt: skip
    add("--since", default="4w", metavar="TIME", help="how much history, such as 4w or 90d; default %(default)s")
    add("--false-alarms", default="1/month", metavar="RATE", help="how often a warning about nothing may come, for"
        " each measure: 1/month, 1/30d, 2/week; default %(default)s")  # fmt: skip
    add("--false-alarms.critical", dest="critical", metavar="RATE", help="the same of a critical alert; default a"
        " tenth of that")  # fmt: skip
    add("--exclude", action="append", default=[], metavar="FROM/TO", help="leave out a time in which something really"
        " was wrong, such as 2026-11-03T09:00/2026-11-03T18:00 (UTC); may be given several times")  # fmt: skip
    add("--output", type=Path, metavar="FILE", help="where to write to; default, and as -, standard output")
    thresholds.set_defaults(command=_thresholds, undone="proposed")


def _serving(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("serving")
    # A default of the command would hide what stands before it; all defaults are those of the whole.
    unless_given = argparse.SUPPRESS
    group.add_argument("--config.file", dest="config", type=Path, default=unless_given, metavar="FILE",
                       help=f"what to watch; default {_CONFIG}")  # fmt: skip
    group.add_argument("--state.path", dest="state", default=unless_given, metavar="FOLDER",
                       help="where counts, cursors and remembered predictions survive a restart; default "
                       "$STATE_DIRECTORY, else ~/.local/state/model-exporter; :memory: keeps nothing")  # fmt: skip
    group.add_argument("--web.listen-address", dest="address", default=unless_given, metavar="ADDRESS",
                       help=f"HOST:PORT or :PORT; default {_ADDRESS}")  # fmt: skip
    group.add_argument("--web.telemetry-path", dest="telemetry_path", default=unless_given, metavar="PATH",
                       help=f"default {_METRICS}")  # fmt: skip
    group.add_argument("--web.enable-lifecycle", dest="lifecycle", action="store_true", default=unless_given,
                       help="allow POST /-/reload")  # fmt: skip


def _logging(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("logging")
    group.add_argument("--log.level", dest="log_level", choices=["debug", "info", "warning", "error"],
                       default=argparse.SUPPRESS, help="default info")  # fmt: skip
    group.add_argument("--log.format", dest="log_format", choices=["logfmt", "json"],
                       default=argparse.SUPPRESS, help="default logfmt")  # fmt: skip


def _serve(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from exporter.app import App

    del parser
    return App(_options(options)).run() if _is_there(options) else CONFIG


def _supervise(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from exporter.app import App
    from exporter.contracts import Clock
    from exporter.probes.supervisor import Supervisor, SupervisorConfig

    if not options.words:
        parser.error("run needs a command: model-exporter run [options] -- COMMAND [ARGUMENT ...]")
    if not _is_there(options):
        return CONFIG
    settings = SupervisorConfig(command=tuple(options.words), restart=options.restart)
    name = options.target or "server"
    supervisor = Supervisor(settings, name=name, clock=Clock(), on_end=lambda: app.leave())  # noqa: PLW0108 - made below
    app = App(_options(options, supervisor=supervisor, target=options.target))
    return app.run()


def _is_there(options: argparse.Namespace, how: str = "--config.file FILE") -> bool:
    """Whether the config is; says what to do if not, and *how* to name another."""
    if not options.config.exists():
        print(
            f"model-exporter: there is no {options.config}: name your config with {how}.\n"
            "New here? `model-exporter demo` shows a model at work, and leaves a config to begin with in a folder\n"
            "that you name: `model-exporter demo FOLDER`.",
            file=sys.stderr,
        )
        return False
    return True


def _options(options: argparse.Namespace, **others: Any) -> Options:
    from exporter.app import Options, default_state_path

    state = None if options.state == ":memory:" else Path(options.state) if options.state else default_state_path()
    return Options(
        config=options.config,
        state=state,
        address=options.address,
        telemetry_path=options.telemetry_path,
        lifecycle=options.lifecycle,
        **others,
    )


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from exporter import check
    from exporter.config.reference import json_schema

    if options.schema:
        print(json.dumps(json_schema(), indent=2))
        return OK
    if options.read is not None and options.read < 1:
        parser.error("--read takes a number of rows from 1 up")
    if options.file is None:
        options.file = options.config
        if not _is_there(options, "model-exporter check FILE"):
            return CONFIG
    return check.run(options.file, options.read, sys.stdout)


def _demo(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    del parser
    from exporter import demo
    from exporter.app import App, Options
    from exporter.web.server import free, parse_address

    host, _ = parse_address(options.address)
    free(options.address, "model-exporter demo --web.listen-address 127.0.0.1:0 takes any that is free")
    shown = "localhost" if host in {"", "0.0.0.0", "::"} else f"[{host}]" if ":" in host else host  # noqa: S104

    def serve(config: Path, state: Path, address: str, supervisor: Supervisor) -> int:
        announce = partial(demo.announce, host=shown)
        options = Options(
            config=config,
            state=state,
            address=address,
            supervisor=supervisor,
            target=demo.TARGET,
            announce=announce,
        )
        return App(options).run()

    return demo.run(options.folder, options.address, serve)


def _bundle(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    del parser
    from exporter import bundle

    return bundle.run(options.folder, options.kind, sys.stdout)


def _thresholds(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from exporter import proposing
    from exporter.config.types import Duration

    try:
        warning = proposing.rate(options.false_alarms)
        critical = proposing.rate(options.critical) if options.critical else warning / 10
        wish = proposing.Wish(
            url=proposing.address(options.url),
            config=options.access,
            models=options.models,
            since=Duration.parse(options.since),
            rates={"warning": warning, "critical": critical},
            exclude=[proposing.span(text) for text in options.exclude],
            output=None if options.output in {None, Path("-")} else options.output,
        )
    except ValueError as error:
        parser.error(str(error))
    return proposing.run(wish, sys.stdout, sys.stderr)


def _metrics(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    del parser
    from exporter import catalogue

    print(catalogue.render(options.format), end="")
    return OK


if __name__ == "__main__":
    sys.exit(main())
