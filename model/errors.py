"""What can go wrong with a user's input, in a user's words.

ModelError (ValueError)
├── WeightsError      the weights are missing or not ours
├── InvalidArray      shape, type or values that cannot be denoised
└── InvalidOption     an option outside its range

Stopped (Exception)   the caller asked a training to stop: not an error of anybody's input
"""

from __future__ import annotations


class ModelError(ValueError):
    """Base of every error that the caller can mend; its text may be shown to users."""


class WeightsError(ModelError):
    """Weights are missing, damaged or made by another program."""


class InvalidArray(ModelError):
    """An array of a shape, type or content that cannot be denoised."""


class InvalidOption(ModelError):
    """An option outside its range."""


class Stopped(Exception):
    """A training ended because its caller asked it to."""
