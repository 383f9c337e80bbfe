"""One module a route of the API: check a request, call what the other wings offer, answer."""
