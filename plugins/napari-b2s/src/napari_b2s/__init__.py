"""Denoise napari layers with a Blind2Sound service, and make models of noisy layers. `widget` is the panel."""
