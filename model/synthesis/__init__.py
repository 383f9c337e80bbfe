"""Training pairs for the noise that reality has: scenes, noises, and the service's own normalisation around both.

A *scene* is a callable `(side, rng) -> (C, side, side)` float32 in [0, 1]; a *noise* is a callable
`(scene, rng) -> Pair`. Each holds its ranges as data. `recipes.py` says which are mixed for which base model.
"""
