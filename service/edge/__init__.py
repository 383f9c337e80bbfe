"""What stands before every route: connections, hosts, keys, rates, request ids and metrics."""
