"""The manifests fit each other, the images and the alerts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

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
    (policy,) = [item for item in ITEMS if item["kind"] == "NetworkPolicy"]
    let_in = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    scraped = {name: pod["metadata"].get("annotations", {}) for name, pod in PODS.items() if "metadata" in pod}
    ports = {name: int(one["prometheus.io/port"]) for name, one in scraped.items() if one}
    assert ports == {"b2s-courier": 9810, "b2s-denoise": 9808, "b2s-finetune": 9808}
    assert set(ports.values()) <= let_in
