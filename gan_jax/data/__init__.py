"""Loads data sets by name and makes minibatches of them, on the device or streamed from the host."""

from gan_jax.data.dataset import Dataset
from gan_jax.data.progress import Progress
from gan_jax.data.registry import DATASETS, default_data_dir, load_dataset, prepare_dataset

__all__ = ['DATASETS', 'Dataset', 'Progress', 'default_data_dir', 'load_dataset', 'prepare_dataset']
