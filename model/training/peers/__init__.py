"""Methods of others, each from its paper, to measure ours against: a file a method."""
