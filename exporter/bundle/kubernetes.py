"""The bundle as objects of Kubernetes: rules, dashboards and routing for the Prometheus operator and Grafana."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import yaml

from exporter import __version__

_LABELS = {"app.kubernetes.io/name": "model-exporter", "app.kubernetes.io/part-of": "model-exporter"}
_STATIC = "deploy/kubernetes/"
_SERVERS = "alert_rules/servers/"
_TEMPLATES = "alert_rules/templates/"
# Where the operator mounts the keys of the secret that holds the configuration.
_SECRET_MOUNT = "/etc/alertmanager/config/"  # noqa: S105 - a path


def manifests(texts: Mapping[str, str]) -> dict[str, str]:
    """The files of the bundle by path, out of the shipped *texts* by theirs."""
    static = {path.removeprefix(_STATIC): text for path, text in texts.items() if path.startswith(_STATIC)}
    rules = {path: text for path, text in texts.items() if _is_rules(path, text)}
    applied = {
        "rules.yml": _stream(_prometheus_rule(path, text) for path, text in rules.items() if _SERVERS not in path),
        "dashboards.yml": _stream(_dashboard(path, text) for path, text in texts.items() if path.endswith(".json")),
        "alertmanager.yml": _stream([_alertmanager_secret(texts)]),
        "monitors.yml": static.pop("monitors.yml"),
    }
    servers = {
        f"servers/{PurePosixPath(path).name}": _stream([_prometheus_rule(path, text)])
        for path, text in rules.items()
        if _SERVERS in path
    }
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(applied),
    }
    return {**applied, **servers, **static, "kustomization.yml": _stream([kustomization])}


def _is_rules(path: str, text: str) -> bool:
    if not (path.startswith("alert_rules/") and path.endswith(".yml")):
        return False
    content = yaml.safe_load(text)
    return isinstance(content, dict) and "groups" in content


def _prometheus_rule(path: str, text: str) -> dict[str, Any]:
    name = path.removeprefix("alert_rules/").removesuffix(".yml").replace("/", "-").replace("_", "-")
    return _object("monitoring.coreos.com/v1", "PrometheusRule", name, spec=yaml.safe_load(text))


def _dashboard(path: str, text: str) -> dict[str, Any]:
    name = PurePosixPath(path).name
    return _object(
        "v1",
        "ConfigMap",
        f"dashboard-{PurePosixPath(path).stem.replace('_', '-')}",
        labels={"grafana_dashboard": "1"},
        annotations={"grafana_folder": "Model Exporter"},
        data={name: text},
    )


def _alertmanager_secret(texts: Mapping[str, str]) -> dict[str, Any]:
    """A secret for `configSecret` of an Alertmanager; its templates lie beside its configuration."""
    # As text: PyYAML would read an unquoted 18:00 as the number 1080.
    config = texts["alert_rules/alertmanager.yml"].replace("templates/*.tmpl", f"{_SECRET_MOUNT}*.tmpl")
    templates = {PurePosixPath(path).name: text for path, text in texts.items() if path.startswith(_TEMPLATES)}
    data = {"alertmanager.yaml": config, **templates}
    return _object("v1", "Secret", "alertmanager", stringData=data)


def _object(version: str, kind: str, name: str, **fields: Any) -> dict[str, Any]:
    metadata = {
        "name": f"model-exporter-{name}",
        "labels": {**_LABELS, **fields.pop("labels", {})},
        **({"annotations": fields.pop("annotations")} if "annotations" in fields else {}),
    }
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such, so that a change of one line is a change of one line."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _dump(document: Any) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def _stream(documents: Any) -> str:
    head = f"# Written by `model-exporter bundle --format kubernetes`, version {__version__}.\n"
    return head + "---\n".join(_dump(one) for one in documents)
