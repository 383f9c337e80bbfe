"""One module a format of `images/formats.py`.

Each has `decode(source, info, limits)`. What can be written has `encode(...)`, or `write(...)` where a result goes to a
file piece by piece; formats of large stacks have `decode_stack(...)`, into memory that the caller allocates.
"""
