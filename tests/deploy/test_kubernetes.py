"""The Kubernetes manifests fit Kubernetes's own schemas, each other, and the agent that they run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from agent.call.door import GOODBYE_S
from agent.ops.lifecycle import CLOSING_S
from agent.ops.metrics import Metrics
from agent.ops.settings import Settings, load_settings

MANIFESTS = Path(__file__).parents[2] / "deploy" / "kubernetes"
OLDEST, NEWEST = "1.30.0", kubernetes_validate.latest_version()
APPLIED = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"]


def documents(*names: str) -> Iterator[dict[str, Any]]:
    for name in names:
        yield from yaml.safe_load_all((MANIFESTS / name).read_text())


def the(kind: str, name: str = "") -> dict[str, Any]:
    found = [each for each in documents(*APPLIED) if each["kind"] == kind and name in ("", each["metadata"]["name"])]
    assert len(found) == 1, f"{kind} {name}: {len(found)}"
    return found[0]


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = the("StatefulSet")["spec"]["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    (only,) = pod()["containers"]
    assert isinstance(only, dict)
    return only


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", [*APPLIED, "secret.example.yaml"])
def test_each_manifest_fits_the_schema_without_an_unknown_field(name: str, version: str) -> None:
    for document in documents(name):
        kubernetes_validate.validate(document, version, strict=True)


def test_everything_in_the_directory_is_applied_or_said_not_to_be() -> None:
    others = {"kustomization.yaml", "secret.example.yaml", "prometheus-adapter.values.yaml"}
    assert {path.name for path in MANIFESTS.glob("*.yaml")} == {*APPLIED, *others}


def test_the_settings_are_ones_that_the_agent_takes(tmp_path: Path) -> None:
    given = the("ConfigMap")["data"] | dict(next(documents("secret.example.yaml"))["stringData"])
    for name in given:
        assert name.lower() in Settings.model_fields, name
    values = {name.lower(): value for name, value in given.items() if value}
    settings = load_settings(**values, data_dir=tmp_path)
    assert settings.stop_grace_seconds >= settings.max_call_seconds  # no call is ended by an update
    referred = [next(iter(source.values()))["name"] for source in container()["envFrom"]]
    assert referred == [
        the("ConfigMap")["metadata"]["name"],
        next(documents("secret.example.yaml"))["metadata"]["name"],
    ]


def test_a_pod_has_the_time_that_its_calls_need_to_end() -> None:
    grace = int(the("ConfigMap")["data"]["STOP_GRACE_SECONDS"])
    before = int(container()["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod()["terminationGracePeriodSeconds"] >= before + grace + GOODBYE_S + CLOSING_S


def test_ports_are_those_that_the_agent_listens_on() -> None:
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    default = {name: field.default for name, field in Settings.model_fields.items()}
    assert ports == {
        "audiosocket": default["listen_port"],
        "fastagi": default["fastagi_port"],
        "http": default["http_port"],
        "console": default["console_port"],
    }
    services = [each for each in documents("services.yaml") if each["kind"] == "Service"]
    for port in (port for service in services for port in service["spec"]["ports"]):
        assert ports[port["targetPort"]] == port["port"]
    named = {port["port"] for rule in the("NetworkPolicy")["spec"]["ingress"] for port in rule["ports"]}
    assert named == set(ports)


def test_the_probes_ask_pages_that_say_so() -> None:
    paths = {kind: container()[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/health", "liveness": "/health", "readiness": "/ready"}


def test_the_autoscaler_asks_for_a_metric_that_there_is() -> None:
    metric = the("HorizontalPodAutoscaler")["spec"]["metrics"][0]["pods"]
    name = metric["metric"]["name"]
    assert f"\n{name} 0.0\n" in Metrics(lambda: 0).page().decode()
    (rule,) = yaml.safe_load((MANIFESTS / "prometheus-adapter.values.yaml").read_text())["rules"]["custom"]
    assert rule["name"]["as"] == name
    assert int(metric["target"]["averageValue"]) < int(the("ConfigMap")["data"]["MAX_CALLS"])


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("StatefulSet", ("spec", "selector", "matchLabels")),
        ("PodDisruptionBudget", ("spec", "selector", "matchLabels")),
        ("NetworkPolicy", ("spec", "podSelector", "matchLabels")),
    ],
)
def test_selectors_find_the_pods(kind: str, where: tuple[str, ...]) -> None:
    selected: Any = the(kind)
    for step in where:
        selected = selected[step]
    assert selected == the("StatefulSet")["spec"]["template"]["metadata"]["labels"]


def test_what_is_scaled_and_served_is_the_set() -> None:
    name = the("StatefulSet")["metadata"]["name"]
    assert the("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == name
    assert the("Service", the("StatefulSet")["spec"]["serviceName"])["spec"]["clusterIP"] == "None"
    assert "replicas" not in the("StatefulSet")["spec"]  # it would undo the autoscaler's count with each apply


def test_the_container_may_do_nothing_but_its_work() -> None:
    security = container()["securityContext"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    assert pod()["securityContext"]["runAsNonRoot"]
    assert not pod()["automountServiceAccountToken"]
