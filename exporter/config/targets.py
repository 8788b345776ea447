"""A target's nodes become a TargetConfig: its probes, each decoded by its own Config, and the model that it serves."""

from __future__ import annotations

from typing import Any

from exporter import plugins
from exporter.config.decode import Decoder
from exporter.config.faults import join_key, listed, nearest
from exporter.config.nodes import BROKEN, Node
from exporter.config.resolved import ProbeConfig, TargetConfig
from exporter.config.thresholds import as_bounds
from exporter.config.windows import item, windows
from exporter.config.written import TargetEntry
from exporter.contracts import WindowSpec


def target(decoder: Decoder, node: Node, key: str, models: Node | None) -> Any:
    """The TargetConfig at *key*, or BROKEN with all its faults listed; *models* are the models of the same file."""
    faults = decoder.faults
    before = len(faults)
    name = key.removeprefix("targets.")
    if not name.isprintable() or name != name.strip():
        faults.add(node.mark, key, "a target's name must be printable and have no space around it")
    entry = decoder.fields(node, TargetEntry, key, plugins.probes())
    if entry is BROKEN:
        return BROKEN
    probes = _probes(decoder, node, key)
    _check_model(decoder, node, entry["model"], models, key)
    chosen = _windows(decoder, node, entry["windows"], key)
    if len(faults) > before:
        return BROKEN
    return TargetConfig(
        name=name,
        model=entry["model"],
        life=next((probe for probe in probes if probe.kind not in plugins.MEASURING), None),
        measures=tuple(probe for probe in probes if probe.kind in plugins.MEASURING),
        interval=float(entry["interval"]),
        timeout=float(entry["timeout"]),
        windows=chosen,
        thresholds=as_bounds(entry["thresholds"]),
    )


def _probes(decoder: Decoder, node: Node, key: str) -> list[ProbeConfig]:
    """All probes that are written; at most one of them tells the target's life."""
    assert isinstance(node.value, dict)  # noqa: S101 - `fields` has judged it
    known = plugins.probes()
    written = [name for name in node.value if name in known]
    lives = [name for name in written if name not in plugins.MEASURING]
    for extra in lives[1:]:
        message = f"a target has one probe of its life, and {lives[0]} is already given; remove one of the two"
        decoder.faults.add(node.keys[extra], join_key(key, extra), message)
    probes = []
    for kind in written:
        try:
            config = plugins.probe(kind).Config
        except ImportError as error:
            message = f"this probe cannot be loaded ({error}); install its extra: prometheus-model-exporter[{kind}]"
            decoder.faults.add(node.keys[kind], join_key(key, kind), message)
            continue
        settings = decoder.decode(node.value[kind], config, join_key(key, kind))
        probes.append(ProbeConfig(kind=kind, settings=settings))
    _check_scopes(decoder, node, probes, key)
    return probes


def _check_scopes(decoder: Decoder, node: Node, probes: list[ProbeConfig], key: str) -> None:
    """No series has two sources: which of them it followed would change whenever one of them fails."""
    measured: dict[str, tuple[str, str]] = {}
    for probe in probes:
        for scope, way_out in getattr(probe.settings, "measured", {}).items():
            other, other_way_out = measured.setdefault(scope, (probe.kind, way_out))
            if other != probe.kind:
                message = (
                    f"CPU and memory of the {scope} are measured by {other} already; "
                    f"write {other_way_out} under {other}, or {way_out} here"
                )
                decoder.faults.add(node.keys[probe.kind], join_key(key, probe.kind), message)


def needs_life(name: str) -> str:
    """What to say of a target that nothing watches, unless the exporter runs it."""
    lives = [kind for kind in plugins.probes() if kind not in plugins.MEASURING]
    choices = listed(f"{kind}:" for kind in lives)
    return f"nothing tells whether {name} lives; write {choices} here, or start it with `model-exporter run -- CMD`"


def _check_model(decoder: Decoder, node: Node, model: Any, models: Node | None, key: str) -> None:
    known = list(models.value) if models is not None and isinstance(models.value, dict) else []
    if model is None or model is BROKEN or model in known:
        return
    written = node.at("model")
    near = None if written.hidden else nearest(model, known)
    hint = f"did you mean {near}?" if near else f"known here: {', '.join(known[:8])}" if known else "remove it"
    decoder.faults.add(written.mark, join_key(key, "model"), f"is none of the models; {hint}")


def _windows(decoder: Decoder, node: Node, written: Any, key: str) -> tuple[WindowSpec, ...]:
    place, list_ = join_key(key, "windows"), node.at("windows")
    chosen = windows(decoder.faults, list_, written, place)
    for position, text in enumerate([] if written is BROKEN else written):
        if isinstance(text, str) and text.startswith("last "):
            message = "crashes are counted by time; write a time such as 1h or 24h"
            decoder.faults.add(item(list_, position).mark, f"{place}[{position}]", message)
    return chosen
