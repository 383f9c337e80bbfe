"""What several rooms' tests and the benchmarks share."""
