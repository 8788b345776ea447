"""The landing page: one self-contained HTML document from a snapshot's status, for people in a hurry.

Everything that comes from outside is escaped; there is no script and no external resource.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Final

from exporter.contracts import ModelStatus, ProbeStatus, Snapshot, SourceStatus, Status, VersionStatus, WindowStatus

REFRESH_SECONDS: Final = 10
_NONE = '<span class="none">\N{EN DASH}</span>'


@dataclass(frozen=True, slots=True)
class ReloadState:
    """How the last attempt to load the config went: when (epoch seconds), and the text of its faults."""

    at: float
    problem: str | None = None


def render(
    snapshot: Snapshot | None,
    *,
    version: str,
    documentation: str,
    telemetry_path: str,
    reload: ReloadState,
    problem: str | None = None,
    now: float | None = None,
) -> str:
    """The whole page; *problem* is why the process is not healthy or not ready, ages are as of *now*."""
    moment = time.time() if now is None else now
    status = Status() if snapshot is None else snapshot.status
    style = files("exporter.web").joinpath("page.css").read_text("utf-8")
    body = "".join(
        (
            _header(version, documentation, telemetry_path, problem),
            _notices(reload, problem, moment),
            _models(status.models, moment),
            _sources(status.sources, moment),
            _servers(status.probes, moment) if status.probes else "",
            _footer(snapshot, reload, moment),
        )
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Model Exporter</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}"><style>{style}</style></head>'
        f"<body>{body}</body></html>\n"
    )


# --- sections ------------------------------------------------------------------------------------


def _header(version: str, documentation: str, telemetry_path: str, problem: str | None) -> str:
    links = (
        (telemetry_path, "Metrics"),
        ("/config", "Config"),
        ("/-/healthy", "Healthy"),
        ("/-/ready", "Ready"),
        (documentation, "Documentation"),
    )
    items = "".join(f'<a href="{escape(target)}">{escape(name)}</a>' for target, name in links)
    state = _badge("ok", "running") if problem is None else _badge("bad", "not ready")
    title = f"<h1>Model Exporter <small>{escape(version)}</small></h1>"
    return f'<header>{title}{state}<nav aria-label="Pages">{items}</nav></header>'


def _notices(reload: ReloadState, problem: str | None, now: float) -> str:
    notices = []
    if problem is not None:
        notices.append(f"<strong>Not ready:</strong> {escape(problem)}")
    if reload.problem is not None:
        notices.append(
            f"<strong>The config of {_age(reload.at, now)} was refused; the one before it runs on.</strong>"
            f"<pre>{escape(reload.problem)}</pre>"
        )
    return "".join(f'<div class="notice" role="alert">{notice}</div>' for notice in notices)


def _models(models: Sequence[ModelStatus], now: float) -> str:
    if not models:
        return _section("Models", _empty("No predictions yet. A model shows up here with its first row."))
    links = (f'<a href="#model-{at}">{escape(model.name)}</a>' for at, model in enumerate(models))
    jump = f'<nav class="jump" aria-label="Models">{"".join(links)}</nav>' if len(models) > 1 else ""
    return _section("Models", jump + "".join(_model(at, model, now) for at, model in enumerate(models)))


def _model(at: int, model: ModelStatus, now: float) -> str:
    facts = f'<span class="fact">{escape(model.task)}</span>'
    orphans = model.orphan_labels
    facts += f'<span class="fact"><b>{_count(orphans)}</b> orphan label{"" if orphans == 1 else "s"}</span>'
    versions = "".join(_version(version, now) for version in sorted(model.versions, key=_ascending))
    title = f"<h3>{escape(model.name)} {facts}</h3>"
    return f'<article id="model-{at}">{title}{versions or _empty("No predictions yet.")}</article>'


def _ascending(version: VersionStatus) -> str:
    """A key by which 1.9 comes before 1.10."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(20), version.version)


def _version(version: VersionStatus, now: float) -> str:
    coverage = version.labelled / version.predictions if version.predictions else None
    facts = [
        ("Predictions", _count(version.predictions)),
        ("Labelled", _count(version.labelled)),
        ("Label coverage", _ratio(coverage, digits=1)),
        ("Pending", _count(version.pending)),
        ("Newest prediction", _age(version.last_prediction, now)),
        ("Newest label", _age(version.last_label, now)),
    ]
    if version.latency is not None:
        mean, most = map(_duration, version.latency)
        words = f'<p>{mean} <span class="key">mean</span></p><p>{most} <span class="key">p95</span></p>'
        facts.append(("Latency", words))
    if version.failed:
        share = version.failed / (version.failed + version.predictions)
        facts.append(("Failed", f'{_count(version.failed)} <span class="key">{_ratio(share)}</span>'))
    title = f'<h4><span class="key">version</span> {escape(version.version)}</h4>'
    return f"{title}{_facts(facts)}{_windows(version.windows)}"


def _windows(windows: Sequence[WindowStatus]) -> str:
    if not windows:
        return ""
    if any(window.measures for window in windows):
        return _measures(windows)
    estimated = any(window.estimated is not None for window in windows)
    rows = (
        (
            _name(window.name, window.average if window.average != "binary" else ""),
            _count(window.labelled),
            *(_ratio(value) for value in (window.accuracy, window.precision, window.recall, window.f1)),
            *([_ratio(window.estimated)] if estimated else []),
        )
        for window in windows
    )
    columns = ("Window", "#Labelled", "#Accuracy", "#Precision", "#Recall", "#F1")
    return _table((*columns, "#Expected accuracy") if estimated else columns, rows)


def _measures(windows: Sequence[WindowStatus]) -> str:
    """One row per measure: there are many, and few windows."""
    names = dict.fromkeys(name for window in windows for name in window.measures)
    labelled = ("labelled", *(_count(window.labelled) for window in windows))
    rows = ((escape(name), *(_number(window.measures.get(name)) for window in windows)) for name in names)
    return _table(("Measure", *(f"#{escape(window.name)}" for window in windows)), [labelled, *rows])


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.4g}"


def _sources(sources: Sequence[SourceStatus], now: float) -> str:
    if not sources:
        return _section("Sources", _empty("No source has been asked yet."))
    rows = (
        (
            _name(source.model, source.role) + _remark("error", source.last_error) + _remark("note", source.note),
            escape(source.kind),
            _up(source.up),
            _age(source.last_success, now),
            _age(source.newest_record, now),
            _count(source.rows),
            _refused(source),
        )
        for source in sources
    )
    columns = ("Source", "Kind", "State", "#Last success", "#Newest record", "#Rows", "#Refused")
    return _section("Sources", _table(columns, rows))


def _refused(source: SourceStatus) -> str:
    return _reasons(source.refused) or _NONE


def _servers(servers: Sequence[ProbeStatus], now: float) -> str:
    return _section("Model servers", "".join(_server(server, now) for server in servers))


def _server(server: ProbeStatus, now: float) -> str:
    """One model server; what is not known of it, or not measured, is left out."""
    facts: list[tuple[str, str]] = []
    if server.since is not None:
        facts.append(("Down for" if server.up is False else "Up for", _age(server.since, now, "{}")))
    if server.restarts is not None:
        facts.append(("Restarts", _count(server.restarts)))
    if server.crashes is not None:
        facts.append(("Crashes", _reasons(server.crashes) or _count(0)))
    if server.crashes_per_hour:
        facts.append(("Crashes per hour", _rates(server.crashes_per_hour)))
    shares = [("CPU", server.cpu), ("Memory", server.memory)]
    shares += [(f"Disk {mountpoint}", share) for mountpoint, share in server.disks.items()]
    shares += [(f"GPU {number}", share) for number, share in server.gpus.items()]
    facts += [(escape(name), _share(share)) for name, share in shares if share is not None]
    state = "" if server.up is None and facts else _up(server.up)
    remarks = "".join(_remark("error", error) for error in server.errors) + _remark("note", server.detail)
    title = f'<h3>{escape(server.target)} <span class="fact">{escape(server.model)}</span>{state}</h3>'
    return f"<article>{title}{remarks}{_facts(facts)}</article>"


def _footer(snapshot: Snapshot | None, reload: ReloadState, now: float) -> str:
    facts = []
    if snapshot is not None:
        facts.append(f"{_count(snapshot.series)} series, made {_age(snapshot.made_at, now)}")
    if reload.problem is None:
        facts.append(f"config loaded {_age(reload.at, now)}")
    facts.append(f"this page looks again every {REFRESH_SECONDS} s")
    return f"<footer>{' · '.join(facts)}</footer>"


# --- pieces --------------------------------------------------------------------------------------


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>"


def _empty(message: str) -> str:
    return f'<p class="empty">{message}</p>'


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    """A list of names and values, both ready HTML; nothing for none."""
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return f"<dl>{items}</dl>" if items else ""


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of ready HTML cells; a column whose title begins with # holds numbers.

    Each cell repeats its column's title, which a narrow screen shows instead of the header row.
    """
    titles = [column.lstrip("#") for column in columns]
    kinds = [' class="number"' if column.startswith("#") else "" for column in columns]
    head = "".join(f'<th scope="col"{kind}>{title}</th>' for title, kind in zip(titles, kinds, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f'<td data-title="{title}"{kind}><div>{cell}</div></td>'
            for title, kind, cell in zip(titles, kinds, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _name(name: str, detail: str) -> str:
    return f'<span class="name">{escape(name)}</span> <span class="key">{escape(detail)}</span>'


def _remark(kind: str, remark: str | None) -> str:
    return f'<p class="{kind}">{escape(remark)}</p>' if remark else ""


def _badge(kind: str, word: str) -> str:
    return f'<span class="badge {kind}">{word}</span>'


def _up(up: bool | None) -> str:
    return _badge("wait", "not asked yet") if up is None else _badge("ok", "up") if up else _badge("bad", "down")


def _count(number: int) -> str:
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _ratio(value: float | None, digits: int = 2) -> str:
    """A ratio as a percentage; what is undefined is a dash, and only a perfect one reads 100 %."""
    if value is None:
        return _NONE
    percent = round(100.0 * value, digits)
    if percent >= 100.0 > 100.0 * value:
        percent = 100.0 - 10.0**-digits
    return f"{percent:.{digits}f}\N{NARROW NO-BREAK SPACE}%"


def _reasons(counts: Mapping[str, int]) -> str:
    """Counts by reason, the largest first; nothing for none."""
    most = sorted(((count, reason) for reason, count in counts.items() if count), reverse=True)
    return "".join(f"<p><b>{_count(count)}</b> <code>{escape(reason)}</code></p>" for count, reason in most)


def _rates(rates: Mapping[str, float]) -> str:
    """Rates by window, to three digits."""
    return "".join(f'<p>{rate:.3g} <span class="key">in {escape(window)}</span></p>' for window, rate in rates.items())


def _share(value: float) -> str:
    """What is used of what there is: a percentage, and a bar that is marked from 90 % on."""
    full = ' class="full"' if value >= 0.9 else ""
    return f'{_ratio(value, digits=1)}<progress aria-hidden="true"{full} value="{min(1.0, value):.3f}"></progress>'


def _duration(seconds: float) -> str:
    """Seconds to three digits in the unit that suits them."""
    unit, size = next(((unit, size) for unit, size in (("s", 1.0), ("ms", 1e-3)) if seconds >= size), ("us", 1e-6))
    return f"{seconds / size:.3g}\N{NARROW NO-BREAK SPACE}{unit}"


def _age(moment: float | None, now: float, past: str = "{} ago") -> str:
    """How long ago *moment* was, with the exact time in UTC for whoever points at it."""
    if moment is None:
        return _NONE
    seconds = now - moment
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    size, unit = next(((size, unit) for size, unit in units if abs(seconds) >= size), (1, "s"))
    amount = f"{abs(seconds) / size:.0f} {unit}"
    words = "just now" if abs(seconds) < 1 else past.format(amount) if seconds > 0 else f"in {amount}"
    exact = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
    return f'<time datetime="{exact}" title="{exact}">{words}</time>'
