"""The operator's desk: keys, tenants' bounds, webhooks, backups. Commands only; talks to the store, never over HTTP."""
