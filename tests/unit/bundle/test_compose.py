"""The compose file: valid, pinned, confined, reachable from this machine only, and consistent with what it mounts."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import PurePosixPath

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.running import ROOT

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
DATA_SOURCES, PROVIDERS = (
    yaml.safe_load(next((ROOT / "deploy/grafana/provisioning" / kind).glob("*.yml")).read_text())[kind_of]
    for kind, kind_of in (("datasources", "datasources"), ("dashboards", "providers"))
)
DASHBOARDS = {path.name: json.loads(path.read_text()) for path in sorted((ROOT / "dashboards").glob("*.json"))}


def schema_faults(document):
    schema = json.loads((ROOT / "tests/data/schemas/compose-spec.json").read_text())
    return [fault.message for fault in Draft202012Validator(schema).iter_errors(document)]


def test_compose_specification():
    """The file is one of the Compose specification; a misspelt key would not be."""
    assert schema_faults(COMPOSE) == []
    wrong = {**COMPOSE, "services": {**SERVICES, "mail": {**SERVICES["mail"], "read_onli": True}}}
    assert schema_faults(wrong) != []


def test_images_are_pinned():
    """Every image is one release, and the one that is built has a base of one minor version."""
    images = {name: service["image"] for name, service in SERVICES.items() if "image" in service}
    assert set(SERVICES) - set(images) == {"exporter"}
    assert all(re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", image) for image in images.values()), images
    assert re.search(r"^ARG BASE=python:3\.\d+-slim$", DOCKERFILE, re.MULTILINE)


@pytest.mark.parametrize("name", SERVICES)
def test_confined(name):
    """No service is root, writes to its root file system, or keeps a capability."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "cap_add" not in service
    user = service.get("user") or re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)[-1]
    assert re.fullmatch(r"[1-9]\d*:\d+", user), user


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_of_this_machine_only(name):
    """Each published port is bound to loopback."""
    assert SERVICES[name]["ports"]
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in SERVICES[name]["ports"])
    assert "network_mode" not in SERVICES[name]


@pytest.mark.parametrize("name", SERVICES)
def test_health_is_checked(name):
    """Each service has a health check, in the file or in its image, that needs no shell."""
    if name == "exporter":
        check = re.search(r"^HEALTHCHECK .*CMD \\\n\s+(\[.*\])$", DOCKERFILE, re.MULTILINE)
        assert json.loads(check[1])[0] == "python3"
    else:
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_no_secret():
    """There is no password in it, and none that everybody knows: Grafana makes no administrator."""
    grafana = SERVICES["grafana"]["environment"]
    assert not [key for key in grafana if "PASSWORD" in key or "SECRET" in key or "TOKEN" in key]
    assert grafana["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"


def test_retention():
    """Prometheus keeps what the rules look back at: a week, and the week before."""
    assert "--storage.tsdb.retention.time=16d" in SERVICES["prometheus"]["command"]


def mounts(name, kind):
    """Where in the container a service finds what, by path on this side; of *kind* bind or volume."""
    parts = [mount.split(":") for mount in SERVICES[name].get("volumes", [])]
    return {part[0]: part[1:] for part in parts if part[0].startswith("./") == (kind == "bind")}


@pytest.mark.parametrize("name", SERVICES)
def test_mounts(name):
    """What is mounted exists and is mounted read-only; what is written lies on a named volume that is declared."""
    for here, (_, *mode) in mounts(name, "bind").items():
        assert (ROOT / here).is_dir(), here
        assert mode == ["ro"], here
    assert set(mounts(name, "volume")) <= set(COMPOSE["volumes"])


def here(name, path):
    """The path in the repository of a *path* in the container of a service."""
    for local, (there, *_) in mounts(name, "bind").items():
        if PurePosixPath(path).is_relative_to(there):
            return (ROOT / local / PurePosixPath(path).relative_to(there)).resolve()
    raise AssertionError(path)


def test_configurations_exist_where_the_commands_look():
    """Each --config.file leads, through the mounts, to a file of the repository; so does Grafana's first page."""
    for name in ("prometheus", "alertmanager"):
        [config] = [word.partition("=")[2] for word in SERVICES[name]["command"] if word.startswith("--config.file")]
        assert here(name, config).is_file()
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert here("grafana", home).is_file()


def test_every_rule_file_is_loaded():
    """Prometheus loads all rules of the exporter, those of no model server, and nothing that is not there."""
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    folder = here("prometheus", "/etc/model-exporter/deploy/prometheus")
    own = "../../alert_rules/own/*.yml"
    loaded = {(folder / path).resolve() for path in config["rule_files"] if path != own}
    files = {path: yaml.safe_load(path.read_text()) or {} for path in (ROOT / "alert_rules").glob("*.yml")}
    rules = {path for path, content in files.items() if "groups" in content}
    assert loaded == rules
    assert own in config["rule_files"]
    snippet = yaml.safe_load((ROOT / "deploy/prometheus/scrape.yml").read_text())
    assert {(ROOT / path).resolve() for path in snippet["rule_files"]} == rules


def test_promtool_accepts_the_snippet(debian, tmp_path):
    """What users of another Prometheus take over is a configuration by itself, beside the rules that it names."""
    (tmp_path / "prometheus.yml").write_text((ROOT / "deploy/prometheus/scrape.yml").read_text())
    (tmp_path / "alert_rules").symlink_to(ROOT / "alert_rules")
    call = [debian("prometheus", "promtool"), "check", "config", tmp_path / "prometheus.yml"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_services_find_each_other():
    """Hosts and ports that configurations name are those of services, and Grafana asks Prometheus."""
    config = (ROOT / "deploy/prometheus/prometheus.yml").read_text()
    known = {f"{name}:{service['ports'][0].rsplit(':', 1)[1]}" for name, service in SERVICES.items()}
    targets = set(re.findall(r'targets: \["([^"]+)"\]', config)) - {"localhost:9090"}
    assert targets <= known
    assert [source["url"] for source in DATA_SOURCES] == ["http://prometheus:9090"]
    alertmanager = yaml.safe_load((ROOT / "alert_rules/alertmanager.yml").read_text())
    assert alertmanager["global"]["smtp_smarthost"] == "mail:1025"


def test_data_source():
    """It tells Grafana the scrape interval, from which $__rate_interval comes."""
    [source] = DATA_SOURCES
    scraping = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraping
    assert (source["type"], source["isDefault"]) == ("prometheus", True)


def test_dashboards_are_provided():
    """The provider looks where the dashboards are mounted; their uids are fixed, short and unlike each other."""
    [provider] = PROVIDERS
    assert here("grafana", provider["options"]["path"]) == ROOT / "dashboards"
    assert provider["disableDeletion"]
    assert not provider["allowUiUpdates"]
    uids = [dashboard["uid"] for dashboard in DASHBOARDS.values()]
    assert len(set(uids)) == len(uids) >= 4
    assert all(len(uid) <= 40 and uid.startswith("model-exporter-") for uid in uids)


def test_dashboards_name_no_data_source():
    """They choose it by a variable, so that they work with any; the uid of the stack's own is nowhere in them."""
    for name, dashboard in DASHBOARDS.items():
        text = json.dumps(dashboard)
        assert DATA_SOURCES[0]["uid"] not in text, name
        [variable] = [one for one in dashboard["templating"]["list"] if one["type"] == "datasource"]
        assert variable["query"] == "prometheus"
        uids = set(re.findall(r'"datasource": \{[^}]*"uid": "([^"]+)"', text))
        assert uids <= {f"${{{variable['name']}}}", "-- Grafana --", "grafana"}, name


BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/deployment.md").read_text(), re.DOTALL)


OVERRIDES = [text for text in BLOCKS if text.startswith("services:")]


@pytest.mark.parametrize("text", OVERRIDES, ids=lambda text: text.split()[1])
def test_overrides_of_the_documentation(text):
    """What the documentation puts beside the compose file is of the specification, for services that there are."""
    override = yaml.safe_load(text)
    assert schema_faults(override) == []
    for name, service in override["services"].items():
        assert name in SERVICES
        assert set(service.get("secrets", [])) <= set(override.get("secrets", {}))


def test_documentation_names_the_images():
    """The table of the stack has the images and ports of the compose file."""
    text = (ROOT / "docs/deployment.md").read_text()
    for service in SERVICES.values():
        assert f"`{service.get('image', 'Dockerfile')}`" in text
        assert f"| {service['ports'][0].split(':')[1]} |" in text
