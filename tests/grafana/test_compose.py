"""examples/docker-compose.yaml: every path, name and token in it fits the others. No container is started."""

import re
from pathlib import Path

import pytest
import yaml

from crplugins.config import load_config
from grafana.source.alerts import JOB
from tests.conftest import CHECKOUT
from tests.grafana.files import FOLDER, promtool

EXAMPLES = CHECKOUT / "examples"
COMPOSE = yaml.safe_load((EXAMPLES / "docker-compose.yaml").read_text())
SERVICES = COMPOSE["services"]
PROMETHEUS = yaml.safe_load((EXAMPLES / "compose" / "prometheus.yaml").read_text())
DEFAULT = re.compile(r"\$\{(\w+):-([^}]*)\}")


def mounts(service: str) -> dict[str, Path]:
    """Files and folders of the checkout by where they are in the container."""
    split = [volume.split(":") for volume in SERVICES[service].get("volumes", ())]
    return {target: EXAMPLES / source for source, target, *_ in split if source.startswith(".")}


def environment(service: str) -> dict[str, str]:
    given = SERVICES[service].get("environment", {})
    return {name: DEFAULT.sub(r"\2", str(value)) for name, value in given.items()}


def test_everything_is_there():
    assert set(SERVICES) == {"gateway", "redis", "postgres", "prometheus", "grafana"}


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_mounted_exists_and_is_read_only(service):
    assert all(path.exists() for path in mounts(service).values())
    volumes = SERVICES[service].get("volumes", ())
    assert all(volume.endswith(":ro") for volume in volumes if volume.startswith("."))
    named = {volume.split(":")[0] for volume in volumes if not volume.startswith(".")}
    assert named <= set(COMPOSE["volumes"])


@pytest.mark.parametrize("service", SERVICES)
def test_ports_are_open_to_this_machine_alone(service):
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service].get("ports", ()))


@pytest.mark.parametrize("service", sorted(set(SERVICES) - {"gateway"}))
def test_images_have_a_version(service):
    assert re.fullmatch(r"[\w/]+:v?\d[\w.-]*", SERVICES[service]["image"])


def test_who_waits_for_a_healthy_service_waits_for_one_that_tells_its_health():
    for service in SERVICES.values():
        for name in service.get("depends_on", {}):
            condition = service["depends_on"][name] if isinstance(service["depends_on"], dict) else {}
            assert condition != {"condition": "service_healthy"} or "healthcheck" in SERVICES[name]


def test_the_gateways_configuration_is_valid_and_its_addresses_are_services(monkeypatch):
    for name, value in environment("gateway").items():
        monkeypatch.setenv(name, value)
    (file,) = mounts("gateway").values()
    config = load_config(file)
    assert config.metrics.token.get_secret_value() == DEFAULT.sub(r"\2", COMPOSE["configs"]["metrics_token"]["content"])
    assert re.search(r"@(\w+):5432", config.ledger.url)[1] in SERVICES
    assert re.search(r"//(\w+):6379", config.limits.store)[1] in SERVICES
    assert f":{config.server.port}" in SERVICES["gateway"]["ports"][0]


def test_prometheus_scrapes_the_gateway_under_the_name_that_the_alerts_know():
    (scrape,) = PROMETHEUS["scrape_configs"]
    assert scrape["job_name"] == JOB
    (target,) = scrape["static_configs"][0]["targets"]
    assert target.split(":")[0] in SERVICES
    (config,) = SERVICES["prometheus"]["configs"]
    assert scrape["authorization"]["credentials_file"] == config["target"]
    assert config["source"] in COMPOSE["configs"]


def test_prometheus_finds_the_rules():
    rules = mounts("prometheus")["/etc/prometheus/rules"]
    (pattern,) = PROMETHEUS["rule_files"]
    assert sorted(file.name for file in rules.parent.glob(pattern)) == ["alerts.yaml", "recording.yaml"]
    done = promtool("check", "config", "--syntax-only", EXAMPLES / "compose" / "prometheus.yaml")
    assert done.returncode == 0, done.stderr


def test_grafana_finds_prometheus_and_the_dashboards():
    provisioning = mounts("grafana")["/etc/grafana/provisioning"]
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert source["url"] == "${PROMETHEUS_URL}"
    assert re.search(r"//(\w+):9090", environment("grafana")["PROMETHEUS_URL"])[1] in SERVICES
    assert source["jsonData"]["timeInterval"] == PROMETHEUS["global"]["scrape_interval"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "crplugins.yaml").read_text())["providers"]
    folder = mounts("grafana")[provider["options"]["path"]]
    assert sorted(file.name for file in folder.glob("*.json")) == ["keys.json", "overview.json"]
    assert folder.resolve() == FOLDER / "dashboards"
    home = environment("grafana")["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(provider["options"]["path"])
