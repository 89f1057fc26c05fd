"""The files that deploy the gateway: each name, port, path, token and time in them fits the others and the code."""

import re
import shlex
import shutil
import subprocess

import pytest
import typer.main
import yaml

import crplugins
from crplugins.cli.app import COMMANDS, command_line
from crplugins.config import ConfigError
from crplugins.plugins.auth import PUBLIC_PATHS
from tests.examples.deployment_files import (
    DRAIN,
    EXAMPLES,
    KUBERNETES,
    SYSTEMD,
    config_of,
    container,
    copied_from_the_checkout,
    dockerfile,
    documents,
    kubernetes_environment,
    plain_variables,
    pod,
    secret,
    systemd_environment,
    the,
    unit,
    variables_in,
)
from tests.grafana.files import promtool, tool
from tests.warm import warm_crplugins

JOB = "crplugins"
CONFIGURATIONS = {
    "kubernetes": (KUBERNETES / "gateway.yaml", kubernetes_environment),
    "systemd": (SYSTEMD / "gateway.yaml", systemd_environment),
}


def parsed(words: list[str]) -> dict[str, object]:
    """Parameters of `crplugins WORDS` as the command itself reads them. Nothing is run."""
    group = typer.main.get_command(command_line(COMMANDS))
    while words and words[0] in getattr(group, "commands", {}):
        group, words = group.commands[words[0]], words[1:]
    return group.make_context("crplugins", list(words)).params


# Configurations.


@pytest.mark.parametrize("home", CONFIGURATIONS)
def test_check_finds_nothing_wrong_and_no_variable_is_missing_or_without_use(home, tmp_path):
    file, environment = CONFIGURATIONS[home]
    given = environment()
    (tmp_path / "keys.yaml").write_text(
        "keys: [{id: team-a, secret: sk-team-a-0123456789abcdef}]\n"
    )  # what `keys new` made
    call = warm_crplugins("check", "--config", file)
    done = subprocess.run(call, env=given, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert variables_in(file) == given.keys() - {"CRPLUGINS_CONFIG"}


@pytest.mark.parametrize("home", CONFIGURATIONS)
def test_the_examples_hold_no_secret_and_without_any_nothing_starts(home):
    file, environment = CONFIGURATIONS[home]
    empty = secret()["stringData"] if home == "kubernetes" else dict.fromkeys(("OPENAI_API_KEY", "METRICS_TOKEN"), "")
    assert set(empty.values()) == {""}
    with pytest.raises(ConfigError):
        config_of(file, {**environment(), **empty})


# Kubernetes.


def test_all_manifests_belong_to_a_kustomization_but_the_shape_of_the_secret():
    for folder in (KUBERNETES, KUBERNETES / "monitoring"):
        kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
        files = {file.name for file in folder.glob("*.yaml")} - {"kustomization.yaml", "secret.example.yaml"}
        generated = {name for each in kustomization.get("configMapGenerator", ()) for name in each["files"]}
        assert files == {*kustomization["resources"], *generated}


@pytest.mark.parametrize("folder", [KUBERNETES, KUBERNETES / "monitoring"], ids=["gateway", "monitoring"])
def test_kustomize_builds_it(folder):
    done = subprocess.run([tool("kubectl"), "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    built = {document["kind"]: document for document in yaml.safe_load_all(done.stdout)}
    if folder == KUBERNETES:
        spec = built["Deployment"]["spec"]["template"]["spec"]
        assert spec["volumes"][0]["configMap"]["name"] == built["ConfigMap"]["metadata"]["name"]
        assert spec["containers"][0]["image"] == f"registry.example.com/crplugins:{crplugins.__version__}"


def test_the_api_of_kubernetes_knows_every_field():
    """`pip install kubernetes-validate`: 108 MB of schemas, so nothing that this project installs for its tests."""
    schemas = pytest.importorskip("kubernetes_validate")
    for document in [*documents(KUBERNETES), secret()]:
        schemas.validate(document, "1.33", strict=True)


def test_every_selector_means_the_pods():
    labels = pod()["metadata"]["labels"].items()
    for selector in (
        the("Deployment")["spec"]["selector"]["matchLabels"],
        the("Service")["spec"]["selector"],
        the("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        the("PodMonitor", KUBERNETES / "monitoring")["spec"]["selector"]["matchLabels"],
        *(each["labelSelector"]["matchLabels"] for each in pod()["spec"]["topologySpreadConstraints"]),
    ):
        assert selector
        assert selector.items() <= labels
    target = the("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", the("Deployment")["metadata"]["name"])


def test_ports_and_probes_are_those_of_the_gateway():
    config = config_of(KUBERNETES / "gateway.yaml", kubernetes_environment())
    [port] = container()["ports"]
    assert (config.server.host, config.server.port) == ("0.0.0.0", port["containerPort"])
    assert the("Service")["spec"]["ports"][0]["targetPort"] == port["name"]
    probes = {name: container()[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {name: get["path"] for name, get in probes.items()} == {
        "startup": "/readyz",
        "readiness": "/readyz",
        "liveness": "/healthz",
    }
    assert {get["port"] for get in probes.values()} == {port["name"]}
    assert {get["path"] for get in probes.values()} <= set(PUBLIC_PATHS)


def test_the_secret_and_the_configuration_are_mounted_under_the_names_they_have():
    assert container()["envFrom"] == [{"secretRef": {"name": secret()["metadata"]["name"]}}]
    [generator] = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["configMapGenerator"]
    volumes = {volume["name"]: volume for volume in pod()["spec"]["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container()["volumeMounts"]}
    folder, _, name = plain_variables()["CRPLUGINS_CONFIG"].rpartition("/")
    assert mounts[folder]["configMap"]["name"] == generator["name"]
    assert generator["files"] == [name]


def test_what_is_written_to_lies_on_a_writable_volume_and_all_else_is_read_only():
    config = config_of(KUBERNETES / "gateway.yaml", kubernetes_environment())
    volumes = {volume["name"]: volume for volume in pod()["spec"]["volumes"]}
    writable = [each["mountPath"] for each in container()["volumeMounts"] if not each.get("readOnly")]
    assert writable == [config.ledger.spool.rpartition("/")[0]]
    [spool] = [each["name"] for each in container()["volumeMounts"] if each["mountPath"] in writable]
    assert "emptyDir" in volumes[spool]
    assert not any(url.startswith("sqlite") for url in (config.ledger.url, config.limits.store))


def test_the_pods_satisfy_the_restricted_profile_that_their_namespace_demands():
    labels = the("Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    of_pod, of_container = pod()["spec"]["securityContext"], container()["securityContext"]
    assert of_pod["runAsNonRoot"] is True
    assert of_pod["runAsUser"] == of_pod["fsGroup"] != 0
    assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert of_container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_a_pod_has_time_to_finish_its_answers_and_to_write_its_records():
    before = container()["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert before > 0
    assert pod()["spec"]["terminationGracePeriodSeconds"] >= before + DRAIN


def test_there_are_always_more_pods_than_may_go_at_once():
    least = the("HorizontalPodAutoscaler")["spec"]["minReplicas"]
    assert least - the("PodDisruptionBudget")["spec"]["maxUnavailable"] >= 2
    assert the("Deployment")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert "cpu" in container()["resources"]["requests"]  # what the autoscaler's target is a share of


def test_prometheus_scrapes_with_the_token_and_under_the_job_that_the_rules_know():
    config = config_of(KUBERNETES / "gateway.yaml", kubernetes_environment())
    spec = the("PodMonitor", KUBERNETES / "monitoring")["spec"]
    [endpoint] = spec["podMetricsEndpoints"]
    assert (endpoint["path"], endpoint["port"]) == (config.metrics.path, container()["ports"][0]["name"])
    name = endpoint["authorization"]["credentials"]
    assert name["name"] == secret()["metadata"]["name"]
    assert kubernetes_environment()[name["key"]] == config.metrics.token.get_secret_value()
    assert pod()["metadata"]["labels"][spec["jobLabel"]] == JOB


def test_the_prometheus_rule_is_what_its_script_makes_of_the_rules_of_the_package(tmp_path):
    """After a change of the rules: sh rules.sh > prometheusrule.yaml, in examples/kubernetes/monitoring."""
    folder = KUBERNETES / "monitoring"
    (tmp_path / "crplugins").write_text(f'#!/bin/sh\nexec {shlex.join(warm_crplugins())} "$@"\n')
    (tmp_path / "crplugins").chmod(0o755)
    done = subprocess.run(
        ["sh", folder / "rules.sh"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (folder / "prometheusrule.yaml").read_text()
    rules = yaml.safe_load(done.stdout)["spec"]
    assert {"crplugins-figures", "crplugins-gateway-alerts"} <= {group["name"] for group in rules["groups"]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    checked = promtool("check", "rules", tmp_path / "rules.yaml")
    assert checked.returncode == 0, checked.stderr


# Docker.


def test_the_image_is_made_of_what_is_there_and_of_what_the_wheel_needs():
    copied = copied_from_the_checkout()
    assert all((EXAMPLES.parent / source).exists() for source in copied)
    assert {"pyproject.toml", "README.md", "LICENSE", "crplugins", "grafana"} <= set(copied)
    [extras] = re.findall(r"\.whl\)\[([\w,]+)\]", (EXAMPLES / "Dockerfile").read_text())
    known = (EXAMPLES.parent / "pyproject.toml").read_text()
    assert {"gateway", "postgres", "redis"} <= set(extras.split(","))
    assert all(re.search(rf"^{extra} = \[", known, re.MULTILINE) for extra in extras.split(","))


def test_the_image_runs_without_rights_in_the_folder_it_may_write_to():
    said = dict(dockerfile())  # of a word that comes twice the last: of the last stage
    user, _, group = said["USER"].partition(":")
    assert user.isdigit()
    assert pod()["spec"]["securityContext"]["runAsUser"] == int(user) != 0
    assert f"install -d -o {user} -g {group} -m 0750 {said['WORKDIR']}" in said["RUN"]
    assert said["EXPOSE"] == str(container()["ports"][0]["containerPort"])
    assert re.fullmatch(r"PYTHON=3\.\d+-slim-\w+", said["ARG"])


def test_the_command_of_the_image_is_one():
    said = dict(dockerfile())
    assert yaml.safe_load(said["ENTRYPOINT"]) == ["crplugins"]
    assert parsed(yaml.safe_load(said["CMD"]))["host"] == "0.0.0.0"
    assert parsed(container()["args"])["workers"] == 1


def test_compose_gives_the_gateway_its_file_its_folder_and_its_time():
    service = yaml.safe_load((EXAMPLES / "docker-compose.yaml").read_text())["services"]["gateway"]
    assert (EXAMPLES / service["build"]["context"] / service["build"]["dockerfile"]).samefile(EXAMPLES / "Dockerfile")
    assert float(service["stop_grace_period"].removesuffix("s")) >= DRAIN
    assert service["read_only"]
    mounted = {volume.split(":")[1] for volume in service["volumes"]}
    said = dict(dockerfile())
    assert mounted == {re.search(r"CRPLUGINS_CONFIG=(\S+)", said["ENV"])[1], said["WORKDIR"]}
    assert "command" not in service  # the image's own
    [path] = re.findall(r"4000(/\w+)", service["healthcheck"]["test"][-1])
    assert path in PUBLIC_PATHS


@pytest.mark.parametrize("name", ["gateway", "redis", "postgres"])
def test_compose_asks_who_is_waited_for_how_it_is(name):
    service = yaml.safe_load((EXAMPLES / "docker-compose.yaml").read_text())["services"][name]
    assert service["healthcheck"].keys() >= {"test", "interval", "timeout"}


# systemd.


def test_the_unit_starts_a_command_that_there_is():
    words = shlex.split(unit()["Service"]["ExecStart"])
    assert words[0] == "/opt/crplugins/bin/crplugins"
    options = parsed(words[1:])
    assert str(options["config_file"]) == "/etc/crplugins/gateway.yaml"
    assert options["workers"] == 2


def test_the_unit_has_time_to_finish_and_a_signal_that_the_gateway_knows():
    service = unit()["Service"]
    assert (service["KillSignal"], service["KillMode"]) == ("SIGTERM", "mixed")
    assert float(service["TimeoutStopSec"]) >= DRAIN


def test_the_unit_writes_where_its_user_may():
    service, config = unit()["Service"], config_of(SYSTEMD / "gateway.yaml", systemd_environment())
    assert service["WorkingDirectory"] == f"/var/lib/{service['StateDirectory']}"
    assert (service["ProtectSystem"], service["PrivateTmp"]) == ("strict", "yes")  # workers meet in /tmp
    assert service["User"] not in ("root", "0")
    for path in (config.ledger.url.removeprefix("sqlite:///"), config.limits.store.removeprefix("sqlite:///")):
        assert re.fullmatch(r"[\w.]+", path)
    assert re.fullmatch(r"[\w.]+", config.keys["file"])


def test_a_mistake_in_the_configuration_is_not_tried_again_and_again():
    call = warm_crplugins("serve", "--config", SYSTEMD / "gateway.yaml")
    done = subprocess.run(call, env={}, capture_output=True, timeout=60, check=False)
    assert unit()["Service"]["RestartPreventExitStatus"].split() == [str(done.returncode)]


def test_the_unit_tells_how_to_install_it_with_commands_and_files_that_there_are():
    header = (SYSTEMD / "crplugins.service").read_text().split("[Unit]")[0]
    for words in re.findall(r"/opt/crplugins/bin/crplugins (keys .+)", header):
        parsed(shlex.split(words))
    files = re.findall(r"install -m \d+ ([\w.]+) (\S+)", header)
    assert {source for source, _ in files} == {file.name for file in SYSTEMD.iterdir()}
    targets = dict(files)
    service = unit()["Service"]
    assert targets["gateway.yaml"] in service["ExecStart"]
    assert targets["environment.example"] == service["EnvironmentFile"]
    assert f"useradd --system --user-group --home-dir {service['WorkingDirectory']} " in header


def test_systemd_knows_every_line_of_the_unit_and_finds_little_exposed(tmp_path):
    analyze = tool("systemd-analyze")
    text = (SYSTEMD / "crplugins.service").read_text()
    (tmp_path / "crplugins.service").write_text(
        text.replace("/opt/crplugins/bin/crplugins serve", f"{shutil.which('sh')} serve")
    )
    for words in (["verify"], ["security", "--offline=true", "--threshold=15"]):  # 1.2 of 10; 15 is 1.5
        done = subprocess.run(
            [analyze, *words, tmp_path / "crplugins.service"], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
