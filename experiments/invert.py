"""Finds the latent of a run whose sample is nearest to a given image (latent inversion).

  python -m experiments.invert --run=runs/mnist --image=digit.png --output=nearest.png

Descends by Adam on the squared difference of pixels, from the nearest of 1,000 random samples. The
picture shows the image, the nearest random sample and the sample that was found; an .npz as output
holds them with the latent. Prints distances: the root mean square difference of pixels in 0 to 255.
"""

import io
from pathlib import Path

import numpy as np
from absl import flags

from gan_jax.data.image_arrays import image_grid
from gan_jax.evaluation import class_choice, inversion, sample_grids, sampling
from gan_jax.training import load_run
from gan_jax.utils.errors import UserError
from gan_jax.utils.files import write_atomically

from . import command_line

_RUN = flags.DEFINE_string('run', None, 'Folder of the run.')
_IMAGE = flags.DEFINE_string('image', None, 'File with the image; it is cropped and resized.')
_OUTPUT = flags.DEFINE_string('output', 'inversion.png', 'A file .png or .npz.')
_WEIGHTS = flags.DEFINE_enum('weights', 'ema', ['ema', 'raw'], 'Averaged weights or the last ones.')
_CHECKPOINT = flags.DEFINE_string('checkpoint', 'last', 'last, best (on validation), or a step.')
_CLASSES = flags.DEFINE_string('classes', 'all', 'Classes to search, by name or number.')
_STEPS = flags.DEFINE_integer('steps', 500, 'Updates of the latent.', 1, 100_000)
_STARTS = flags.DEFINE_integer('starts', 8, 'Latents from which it descends.', 1, 1000)
_LR = flags.DEFINE_float('lr', 0.05, "Adam's learning rate for the latent.", 1e-6, 10)
_SEED = command_line.define_seed_flag('Seed of the random samples.')


def main(argv: list[str]) -> None:
  """Writes the picture and prints the distances."""
  del argv
  if not _RUN.value or not _IMAGE.value:
    missing = '--image: name a file' if _RUN.value else '--run: name the folder of a run'
    raise UserError(missing)
  path = Path(_OUTPUT.value)
  if path.suffix not in ('.png', '.npz'):
    raise UserError(f'--output={path}: write a file .png or .npz')
  run = load_run.load_run(Path(_RUN.value), _CHECKPOINT.value)
  if len(run.shape) != 3:
    raise UserError(f'--run={_RUN.value}: {run.config.dataset} has points and no images to invert')
  target = inversion.read_target(Path(_IMAGE.value), run.shape)
  names, classes = run.class_names, [0]
  if run.gan.n_classes:
    names = names or tuple(map(str, range(run.gan.n_classes)))
    classes = class_choice.parse_classes('classes', _CLASSES.value, names, run.gan.n_classes)
  found = inversion.invert_image(
    run.gan,
    sampling.generator_weights(run.state, _WEIGHTS.value),
    target,
    classes,
    seed=_SEED.value,
    starts=_STARTS.value,
    steps=_STEPS.value,
    lr=_LR.value,
  )
  pictures = np.stack([target, found.start_image, found.image])
  if path.suffix == '.png':
    sample_grids.save_png(path, image_grid(pictures, columns=3))
  else:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    label = -1 if found.label is None else found.label
    np.savez(
      file, latent=found.latent, label=label, images=pictures, distance=np.asarray(found.distance)
    )
    write_atomically(path, file.getvalue())
  of = '' if found.label is None else f', class {names[found.label]}'
  print(
    f'distance {found.distance:.2f} of 255{of}; nearest random sample {found.start_distance:.2f}'
  )
  print(f'{path}: the image, the nearest random sample, the sample found; from step {run.step}')


if __name__ == '__main__':
  command_line.run_script(main)
