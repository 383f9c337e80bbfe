"""Delivers webhooks. The only process that connects to addresses that tenants name; it can be fenced in by itself."""
