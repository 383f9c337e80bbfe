"""Header parsers, each with `read(source, limits)`; `images/formats.py` says which format has which.

Strict bounds, no codec, no pixel is ever touched. What parsers share (`tiff_…`) lies beside them.
"""
