"""Runs torchvision's Inception-v3, modified as for Frechet distances; needs PyTorch.

  python tests/helpers/inception_reference.py FOLDER

Writes checkpoint.npz and checkpoint.safetensors with random weights, and known.npz with images and their
features and logits.
"""

import pathlib
import sys
import types

import numpy as np
import PIL.Image
import safetensors.numpy
import torch
from torch.nn import functional

# Compiled operators of detectors, which Inception does not need and some builds of torch lack.
sys.modules['torchvision._meta_registrations'] = types.ModuleType('torchvision._meta_registrations')

from torchvision.models import inception  # noqa: E402


class Pools:
  """Replaces torch.nn.functional in torchvision's Inception, with average pools that exclude padding."""

  by_maxima = False

  def __getattr__(self, name):
    return getattr(functional, name)

  def avg_pool2d(self, x, **window):
    if self.by_maxima:
      return functional.max_pool2d(x, **window)
    return functional.avg_pool2d(x, **window, count_include_pad=False)


def build():
  """Returns the network with random weights that keep the scale of activations."""
  pools = inception.F = Pools()
  model = inception.Inception3(
    num_classes=1008, aux_logits=False, transform_input=False, init_weights=False
  )
  model.Mixed_7c.register_forward_pre_hook(lambda *_: setattr(pools, 'by_maxima', True))
  model.Mixed_7c.register_forward_hook(lambda *_: setattr(pools, 'by_maxima', False))
  generator = torch.Generator().manual_seed(0)
  uniform = lambda x, low, high: x.copy_(
    torch.empty_like(x).uniform_(low, high, generator=generator)
  )
  with torch.no_grad():
    for name, x in model.state_dict().items():
      if x.ndim == 4:
        bound = (6 / x[0].numel()) ** 0.5
        uniform(x, -bound, bound)
      elif name.endswith(('bn.weight', 'running_var')):
        uniform(x, 0.7, 1.3)
      elif name.endswith(('bn.bias', 'running_mean')):
        uniform(x, -0.1, 0.1)
  return model.eval()


def resize(image):
  """Resizes each channel with Pillow in floats, as clean-fid does: [h, w, c] to [c, 299, 299]."""
  channels = [PIL.Image.fromarray(image[..., i].astype(np.float32)) for i in range(image.shape[-1])]
  bicubic = PIL.Image.Resampling.BICUBIC
  return np.stack([np.asarray(x.resize((299, 299), bicubic)) for x in channels])


def main(folder):
  """Writes the files."""
  model = build()
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (5, 32, 32, 3), np.uint8)
  images[0, :16] = 0
  images[1, :, 16:] = 255
  larger = rng.integers(0, 256, (2, 350, 310, 3), np.uint8)
  known = {'images': images, 'larger': larger}
  for name, pictures in tuple(known.items()):
    batch = torch.tensor(np.stack([resize(x) for x in pictures]))
    features = []
    model.dropout.register_forward_hook(
      lambda module, inputs, output, features=features: features.append(output)
    )
    with torch.no_grad():
      logits = model((batch - 128) / 128)
    known[f'{name}_features'] = features[0].flatten(1).numpy()
    known[f'{name}_logits'] = logits.numpy()
  tensors = {name: x.numpy() for name, x in model.state_dict().items()}
  np.savez(folder / 'known.npz', **known)
  np.savez(folder / 'checkpoint.npz', **tensors)
  safetensors.numpy.save_file(tensors, folder / 'checkpoint.safetensors')


if __name__ == '__main__':
  main(pathlib.Path(sys.argv[1]))
