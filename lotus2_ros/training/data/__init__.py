"""Training data: datasets as they lie on disk, and the stream of batches made of them."""

from lotus2_ros.training.data.opening import open_datasets

__all__ = ['open_datasets']
