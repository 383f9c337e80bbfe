"""The manifests fit each other, the images and the alerts."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from courier.addresses import is_public

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker" / "kubernetes"
ITEMS: list[dict[str, Any]] = yaml.safe_load((FOLDER / "b2s.yaml").read_text())["items"]
PODS = {item["metadata"]["name"]: item["spec"]["template"] for item in ITEMS if "template" in item["spec"]}


def test_every_pod_is_hardened() -> None:
    assert len(PODS) == 5
    for pod in PODS.values():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] is True and own["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted <= {volume["name"] for volume in spec["volumes"]}
            assert re.fullmatch(r"b2s-(gateway|worker):\d+\.\d+\.\d+", container["image"])


def test_selectors_find_their_pods() -> None:
    labels = [pod.get("metadata", {}).get("labels", {}) for pod in PODS.values()]
    for item in ITEMS:
        selector = item["spec"].get("selector") or item["spec"].get("podSelector")
        if selector is not None:
            wanted = selector.get("matchLabels", selector)
            assert any(wanted.items() <= found.items() for found in labels), item["metadata"]["name"]


def test_the_scaler_scales_a_deployment_that_does_not_count_for_itself() -> None:
    scaler = yaml.safe_load((FOLDER / "keda.yaml").read_text())
    name = scaler["spec"]["scaleTargetRef"]["name"]
    (deployment,) = [item for item in ITEMS if (item["kind"], item["metadata"]["name"]) == ("Deployment", name)]
    assert "replicas" not in deployment["spec"]
    assert "b2s_jobs_oldest_queued_seconds" in scaler["spec"]["triggers"][0]["metadata"]["query"]


def test_who_is_scraped_can_be_reached() -> None:
    (policy,) = [item for item in ITEMS if item["metadata"]["name"] == "b2s-inward"]
    let_in = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    scraped = {name: pod["metadata"].get("annotations", {}) for name, pod in PODS.items() if "metadata" in pod}
    ports = {name: int(one["prometheus.io/port"]) for name, one in scraped.items() if one}
    assert ports == {"b2s-courier": 9810, "b2s-denoise": 9808, "b2s-finetune": 9808}
    assert set(ports.values()) <= let_in


def _allowed(policies: list[dict[str, Any]], address: str, port: int) -> bool:
    """Whether egress rules let through, as NetworkPolicy has it: any rule, any of its blocks but what they except."""
    for rule in (rule for policy in policies for rule in policy["spec"]["egress"]):
        if port not in [one["port"] for one in rule["ports"]]:
            continue
        for block in (peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer):
            inside = [ip_address(address) in ip_network(net) for net in [block["cidr"], *block["except"]]]
            if inside[0] and not any(inside[1:]):
                return True
    return False


def _of(app: str) -> list[dict[str, Any]]:
    """The policies that hold a pod's way out."""
    labels = {"app": app, "b2s": "true"}
    found = []
    for policy in (item for item in ITEMS if item["spec"].get("policyTypes") == ["Egress"]):
        selector = policy["spec"]["podSelector"]
        barred = [value for one in selector.get("matchExpressions", []) for value in one["values"]]
        if selector["matchLabels"].items() <= labels.items() and app not in barred:
            found.append(policy)
    return found


METADATA = ["169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "fd00:ec2::254", "fe80::1"]


@pytest.mark.parametrize("name", PODS)
def test_no_pod_reaches_the_metadata_of_a_cloud(name: str) -> None:
    app = PODS[name]["metadata"]["labels"]["app"]
    assert PODS[name]["metadata"]["labels"]["b2s"] == "true"
    assert len(_of(app)) == 1
    for address in METADATA:
        assert not any(_allowed(_of(app), address, port) for port in (53, 80, 443, 5432, 6379, 9000)), address
    assert _allowed(_of(app), "10.1.2.3", 5432)


def test_the_courier_reaches_receivers_and_nothing_inside() -> None:
    policies = _of("b2s-courier")
    for address in ("93.184.216.34", "2606:2800:220:1::1"):
        assert is_public(ip_address(address)) and _allowed(policies, address, 443)
    for address in (*METADATA, "10.1.2.3", "172.20.0.1", "192.168.1.1", "127.0.0.1", "100.64.0.1", "fd12::1", "::1"):
        assert not any(_allowed(policies, address, port) for port in (80, 443, 6379, 9000)), address
    assert not _allowed(policies, "93.184.216.34", 22)


def test_others_do_not_post_to_the_outside() -> None:
    for app in ("b2s-gateway", "b2s-denoise", "b2s-finetune", "b2s-migrate"):
        assert not any(_allowed(_of(app), "93.184.216.34", port) for port in (22, 25, 80, 8080))


def test_what_is_spooled_has_a_bound() -> None:
    for name, pod in PODS.items():
        (spool,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "spool"]
        assert spool["emptyDir"]["sizeLimit"], name
