import pytest

from gan_jax.gan.networks import NETWORKS, NetworkSpec
from gan_jax.utils.errors import UserError

SHAPE = (28, 28, 1)
REFUSED = {
  'dcgan': [
    (NetworkSpec((30, 30, 3)), '--network=dcgan: .* multiples of 4.* not 30x30.*--network=mlp'),
    (NetworkSpec((4, 4, 3)), '--network=dcgan: .* not 4x4'),
    (
      NetworkSpec((2,)),
      r'--network=dcgan: makes images, not points of shape \(2,\); use --network=relu',
    ),
    (NetworkSpec(SHAPE, d_dropout=True), '--d_dropout: dcgan has no dropout.*--network=mlp'),
    (NetworkSpec(SHAPE, init='2014'), '--init=2014: dcgan .*--init=scaled'),
    (
      NetworkSpec(SHAPE, g_norm='spectral'),
      '--g_norm=spectral: dcgan supports --g_norm=batch or --g_norm=none',
    ),
    (NetworkSpec(SHAPE, remat=True), '--remat: dcgan .*--noremat'),
    (NetworkSpec(SHAPE, dtype='float16'), '--dtype=float16: dcgan .*--dtype=bfloat16'),
  ],
  'sngan': [
    (NetworkSpec((30, 28, 3)), '--network=sngan: .* not 30x28'),
    (NetworkSpec(SHAPE, d_norm='batch'), '--d_norm=batch: sngan supports --d_norm=spectral or'),
  ],
  'r3gan': [
    (NetworkSpec(SHAPE, g_width=20), '--g_width=20: .* multiple of 8, such as --g_width=24'),
    (NetworkSpec(SHAPE, g_norm='batch'), '--g_norm=batch: r3gan supports --g_norm=none only'),
    (NetworkSpec((2,)), '--network=r3gan: makes images'),
  ],
  'conv_2014': [
    (NetworkSpec(SHAPE), '--network=conv_2014: .* not 28x28; use --network=dcgan'),
    (NetworkSpec((32, 32, 3), g_width=150), '--g_width=150: .* multiple of 100.*--g_width=200'),
    (NetworkSpec((32, 32, 3), g_depth=3), '--g_depth=3: conv_2014 .*--g_depth=0'),
    (
      NetworkSpec((32, 32, 3), d_depth=2),
      '--d_depth=2: conv_2014 has a fixed depth; use --d_depth=0',
    ),
  ],
  'mlp': [(NetworkSpec(SHAPE, d_norm='batch'), '--d_norm=batch: mlp supports')],
  'mlp_cifar_2014': [
    (NetworkSpec(SHAPE, g_norm='batch'), '--g_norm=batch: mlp_cifar_2014 supports')
  ],
  'relu': [
    (
      NetworkSpec((2,), init='2014'),
      '--init=2014: relu supports --init=scaled or --init=torch only',
    ),
    (NetworkSpec((2,), d_dropout=True), '--d_dropout: relu has no dropout'),
  ],
  'dirac': [
    (NetworkSpec((2,)), r'--network=dirac: .*\(2,\); use --network=relu'),
    (NetworkSpec((1,), g_width=3), '--g_width=3: dirac has no width; use --g_width=0'),
  ],
}


@pytest.mark.parametrize(
  ('name', 'spec', 'message'), [(name, *case) for name in REFUSED for case in REFUSED[name]]
)
def test_unsupported_options_are_refused_in_one_line_with_the_flag_and_a_remedy(
  name, spec, message
):
  with pytest.raises(UserError, match=f'^{message}') as refusal:
    NETWORKS[name](spec)
  assert '\n' not in str(refusal.value)
