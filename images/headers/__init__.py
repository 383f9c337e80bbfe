"""One header parser a format: strict bounds, no codec, no pixel is ever touched."""
