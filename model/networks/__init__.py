"""Denoiser f, noise estimator g, their covariances, and weights as files."""
