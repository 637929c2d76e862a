"""From an image to a prediction: what runs inside the worker, and in-process for everyone else."""

from lotus2_ros.runtime.predictor import Lotus2Predictor

__all__ = ['Lotus2Predictor']
