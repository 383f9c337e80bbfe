"""One training loop, its objectives, losses and batches."""
