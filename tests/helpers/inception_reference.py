"""Inception-v3 by torchvision, made into the one of Frechet distances; for a Python with PyTorch.

  python tests/inception_reference.py FOLDER

Writes checkpoint.npz and checkpoint.safetensors with random weights, and known.npz with images and what
the network makes of them.
"""

import pathlib
import sys
import types

import numpy as np
import PIL.Image
import safetensors.numpy
import torch
from torch.nn import functional

# Operators of detectors, whose compiled part does not fit every build of torch; Inception needs none.
sys.modules['torchvision._meta_registrations'] = types.ModuleType('torchvision._meta_registrations')

from torchvision.models import inception  # noqa: E402


class Pools:
  """Stands for torch.nn.functional inside torchvision's Inception, its average pools exchanged."""

  by_maxima = False

  def __getattr__(self, name):
    return getattr(functional, name)

  def avg_pool2d(self, x, **window):
    if self.by_maxima:
      return functional.max_pool2d(x, **window)
    return functional.avg_pool2d(x, **window, count_include_pad=False)


def build():
  """The network with random weights that keep the size of what passes through."""
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


def resized(image):
  """Each channel by Pillow in floats, as clean-fid does: [h, w, c] to [c, 299, 299]."""
  channels = [PIL.Image.fromarray(image[..., i].astype(np.float32)) for i in range(image.shape[-1])]
  bicubic = PIL.Image.Resampling.BICUBIC
  return np.stack([np.asarray(x.resize((299, 299), bicubic)) for x in channels])


def main(folder):
  """Write the files."""
  model = build()
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (5, 32, 32, 3), np.uint8)
  images[0, :16] = 0
  images[1, :, 16:] = 255
  larger = rng.integers(0, 256, (2, 350, 310, 3), np.uint8)
  known = {'images': images, 'larger': larger}
  for name, pictures in tuple(known.items()):
    batch = torch.tensor(np.stack([resized(x) for x in pictures]))
    seen = []
    model.dropout.register_forward_hook(
      lambda module, inputs, output, seen=seen: seen.append(output)
    )
    with torch.no_grad():
      logits = model((batch - 128) / 128)
    known[f'{name}_features'] = seen[0].flatten(1).numpy()
    known[f'{name}_logits'] = logits.numpy()
  tensors = {name: x.numpy() for name, x in model.state_dict().items()}
  np.savez(folder / 'known.npz', **known)
  np.savez(folder / 'checkpoint.npz', **tensors)
  safetensors.numpy.save_file(tensors, folder / 'checkpoint.safetensors')


if __name__ == '__main__':
  main(pathlib.Path(sys.argv[1]))
