"""Bytes <-> arrays: probe, decode, encode, metadata. Knows nothing of jobs, HTTP or torch.

`images.probe` reads headers only and imports no codec: it is the one module the gateway uses.
"""
