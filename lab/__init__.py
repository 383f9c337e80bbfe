"""The models at a desk: denoise files, estimate their noise, train, evaluate and export. `python -m lab --help`."""
