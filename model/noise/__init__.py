"""The noise model, and what an image tells of its noise."""
