"""The objects for Kubernetes: held to the schemas of Kubernetes and the operator, and to what they are made of."""

from __future__ import annotations

import io
import json
import re
import subprocess

import pytest
import yaml
from jsonschema import Draft202012Validator

from exporter import bundle
from exporter.config.schema import parse
from exporter.errors import ExporterError
from tests.running import ROOT

OWN = {"receivers.yml", "overrides.yml", "links.yml"}
SCHEMAS = ROOT / "tests/data/schemas"
KUBERNETES = json.loads((SCHEMAS / "kubernetes.json").read_text())["$defs"]


def closed(schema):
    """*schema* with every object closed that lists its keys: an API server would drop what is not listed, silently."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    if "properties" in schema and isinstance(schema.get("type"), str):
        made.setdefault("additionalProperties", False)
    return made


def schema_of(kind):
    path = SCHEMAS / f"{kind}.json"
    if path.exists():
        made = closed(json.loads(path.read_text()))
        made["properties"]["metadata"] = {"$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
        return {**made, "$defs": KUBERNETES}
    [name] = [name for name in KUBERNETES if re.fullmatch(rf"io\.k8s\.api\.(core|apps)\.v1\.{kind}", name)]
    return {**KUBERNETES[name], "$defs": KUBERNETES}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("kubernetes")
    bundle.write(made, "kubernetes")
    return made


@pytest.fixture(scope="module")
def objects(folder):
    """All objects: (file, object)."""
    paths = [path for path in sorted(folder.rglob("*.yml")) if path.name not in OWN]
    return [
        (str(path.relative_to(folder)), one)
        for path in paths
        if path.name != "kustomization.yml"
        for one in yaml.safe_load_all(path.read_text())
    ]


def of_kind(objects, kind):
    return [one for _, one in objects if one["kind"] == kind]


def test_schemas(objects):
    """Every object is one that the API server takes, down to the last key."""
    for file, one in objects:
        faults = [fault.message for fault in Draft202012Validator(schema_of(one["kind"])).iter_errors(one)]
        assert faults == [], (file, one["metadata"]["name"])


def test_schemas_can_refuse():
    """A misspelt key is refused, in an object of Kubernetes and in one of the operator."""
    wrong = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "dat": {}}
    assert list(Draft202012Validator(schema_of("ConfigMap")).iter_errors(wrong))
    wrong = {"metadata": {"name": "a"}, "spec": {"selector": {}, "podMetricsEndpoints": [{"ports": "a"}]}}
    assert list(Draft202012Validator(schema_of("PodMonitor")).iter_errors(wrong))


def test_names(objects):
    """Names are ones that Kubernetes takes, no two objects of one kind share one, and the kinds are complete."""
    names = [(one["kind"], one["metadata"]["name"]) for file, one in objects if not file.startswith("examples/")]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name) for _, name in names), names
    assert {kind for kind, _ in names} == {"PrometheusRule", "ConfigMap", "Secret", "PodMonitor", "ServiceMonitor"}


def test_rules_are_the_shipped_ones(objects):
    """Each rule file is a PrometheusRule with the same groups."""
    shipped = {
        path.stem.replace("_", "-"): yaml.safe_load(path.read_text())
        for path in [*(ROOT / "alert_rules").glob("*.yml"), *(ROOT / "alert_rules/servers").glob("*.yml")]
    }
    made = {one["metadata"]["name"]: one["spec"] for one in of_kind(objects, "PrometheusRule")}
    assert made == {
        f"model-exporter-{'servers-' if (ROOT / f'alert_rules/servers/{name}.yml').exists() else ''}{name}": content
        for name, content in shipped.items()
        if "groups" in (content or ())
    }


def test_links_of_the_user(tmp_path):
    """Where links lead is said by the user's file; one that is no YAML is an error that names it."""
    bundle.write(tmp_path, "kubernetes")
    links = tmp_path / "links.yml"
    links.write_text(links.read_text().replace("dashboards: ''", "dashboards: https://grafana.example.org"))
    assert bundle.write(tmp_path, "kubernetes").updated == ["rules.yml"]
    assert "dashboards: https://grafana.example.org" in (tmp_path / "rules.yml").read_text()
    links.write_text("groups: [")
    with pytest.raises(ExporterError, match=r"(?s)cannot read .*links\.yml: .*line 1"):
        bundle.write(tmp_path, "kubernetes")


def test_promtool_accepts_the_rules(objects, debian, tmp_path):
    """The specs of all PrometheusRules are rule files to Prometheus' own check."""
    paths = []
    for one in of_kind(objects, "PrometheusRule"):
        paths.append(tmp_path / f"{one['metadata']['name']}.yml")
        paths[-1].write_text(yaml.safe_dump(one["spec"]))
    done = subprocess.run(
        [debian("prometheus", "promtool"), "check", "rules", "--lint-fatal", *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_dashboards_are_the_shipped_ones(objects):
    """Each dashboard is a ConfigMap with the label that Grafana's sidecar looks for, and fits into one."""
    maps = [one for file, one in objects if file == "dashboards.yml"]
    texts = {name: text for one in maps for name, text in one["data"].items()}
    assert texts == {path.name: path.read_text() for path in (ROOT / "dashboards").glob("*.json")}
    for one in maps:
        assert one["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert len(json.dumps(one)) < 1_000_000


def test_alertmanager_accepts_the_secret(objects, debian, tmp_path):
    """The secret holds a configuration and its templates, in the places in which the operator puts them."""
    [secret] = of_kind(objects, "Secret")
    amtool = debian("prometheus-alertmanager", "amtool")
    for name, text in secret["stringData"].items():
        (tmp_path / name).write_text(text.replace("/etc/alertmanager/config/", f"{tmp_path}/"))
    done = subprocess.run(
        [amtool, "check-config", tmp_path / "alertmanager.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    templates = {path.name for path in (ROOT / "alert_rules/templates").glob("*.tmpl")}
    assert set(secret["stringData"]) == {"alertmanager.yaml", *templates}
    assert "/etc/alertmanager/config/*.tmpl" in secret["stringData"]["alertmanager.yaml"]


def test_kustomization(folder):
    """It applies rules, dashboards, monitors and the secret; examples and model servers' rules are left to choose."""
    resources = yaml.safe_load((folder / "kustomization.yml").read_text())["resources"]
    assert resources == ["alertmanager.yml", "dashboards.yml", "monitors.yml", "rules.yml"]
    assert all((folder / one).is_file() for one in resources)


def test_monitors_select_the_examples(objects):
    """The pods of the sidecar and the service of the central exporter are scraped, each by one monitor."""
    sidecar = next(one for one in of_kind(objects, "Deployment"))
    service = next(one for one in of_kind(objects, "Service"))
    central = next(one for one in of_kind(objects, "StatefulSet"))
    [pods], [services] = of_kind(objects, "PodMonitor"), of_kind(objects, "ServiceMonitor")
    wanted, offered = pods["spec"]["selector"]["matchLabels"], sidecar["spec"]["template"]["metadata"]["labels"]
    assert wanted.items() <= offered.items()
    assert not wanted.items() <= central["spec"]["template"]["metadata"]["labels"].items()
    assert services["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["spec"]["selector"].items() <= central["spec"]["template"]["metadata"]["labels"].items()
    ports = {port["name"] for one in (sidecar, central) for box in containers(one) for port in box.get("ports", [])}
    named = [pods["spec"]["podMetricsEndpoints"][0]["port"], services["spec"]["endpoints"][0]["port"]]
    assert {*named, service["spec"]["ports"][0]["targetPort"]} == ports


def containers(workload):
    return workload["spec"]["template"]["spec"]["containers"]


def test_examples_are_confined(objects):
    """The exporter of the examples is not root, writes to volumes only, and keeps no capability."""
    workloads = of_kind(objects, "Deployment") + of_kind(objects, "StatefulSet")
    assert workloads[0]["spec"]["template"]["spec"]["shareProcessNamespace"] is True
    for workload in workloads:
        pod = workload["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        [box] = [one for one in containers(workload) if one["name"] == "model-exporter"]
        assert box["securityContext"]["readOnlyRootFilesystem"] is True
        assert box["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        declared = {volume["name"] for volume in pod["volumes"]}
        declared |= {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
        assert {mount["name"] for one in containers(workload) for mount in one["volumeMounts"]} == declared


def test_configs_of_the_examples_are_valid(objects):
    """What the examples give the exporter is a config without a fault."""
    of_examples = [one for file, one in objects if file.startswith("examples/")]
    configs = [one["data"]["model-exporter.yml"] for one in of_examples if "data" in one]
    assert len(configs) == 2
    for text in configs:
        secrets = {"LABELS_DB": "postgresql://localhost/labels", "WAREHOUSE": "sqlite:///w.db"}
        assert parse(text, "model-exporter.yml", environment=secrets).models


def test_what_it_says(tmp_path):
    """It names each file and tells what to do next; the second time, that nothing has changed."""
    out = io.StringIO()
    assert bundle.run(tmp_path, "kubernetes", out) == 0
    assert "written   rules.yml\n" in out.getvalue()
    assert "kubectl apply" in out.getvalue()
    out = io.StringIO()
    bundle.run(tmp_path, "kubernetes", out)
    assert "written" not in out.getvalue()
    assert "yours     receivers.yml\n" in out.getvalue()
