"""Training objectives, a file a method: from a batch to a loss and its parts. `table` has them by name."""
