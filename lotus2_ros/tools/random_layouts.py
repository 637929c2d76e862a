"""Names of the models that `random_predictor` draws. It needs torch and diffusers, names do not."""

from __future__ import annotations

RANDOM_LAYOUTS = {'random-merged': False, 'random-shared': True}
"""Name of a model of FLUX.1-dev's shape, to whether its stages share one base."""
