"""What a model's card shows of the machine that it was made on: nothing."""

from __future__ import annotations

from tests.harness.gateway import Running


def test_no_card_names_a_place_on_the_server_s_disk(gateway: Running) -> None:
    """Cards of models made before December 2026 do; what the network was made with stays."""
    card = {"scores": {"gain_db": 0.3}, "config": {"base": "/tmp/b2s-x/base-gray.safetensors", "lr": 1e-4}}
    gateway.services.models.register("mdl_old", "mine", 1, card, "models/x", 1, "0" * 64, "default", "base-gray")
    for shown in (gateway.http.get("/models/mdl_old").json(), gateway.http.get("/models").json()):
        assert "/tmp" not in str(shown) and "'lr': 0.0001" in str(shown) and "0.3" in str(shown)
