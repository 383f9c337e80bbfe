"""One module a format, each with `decode(source, info, limits)` and, where it can be written, `encode(...)`."""
