"""Frames that belong together: how they move, and what a training or a network sees of them."""
