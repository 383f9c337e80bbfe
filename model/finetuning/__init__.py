"""A base model trained on a noisy set, and the verdict on it."""
