"""Games by name: endless, seeded data whose truth is known in closed form, so that samples can be judged."""

from gan_jax.data.synthetic import curves, mixtures, parabolas, point_mass
from gan_jax.data.synthetic.distribution import Density, SyntheticDistribution, density_of

__all__ = ['GAMES', 'Density', 'Game', 'density_of']

SYNTHETIC: dict[str, SyntheticDistribution] = {
  game.name: game
  for game in (
    point_mass.dirac_distribution(),
    mixtures.gaussian_distribution(),
    mixtures.mixture_distribution('ring', mixtures.ring()),
    mixtures.mixture_distribution('grid', mixtures.grid()),
    curves.curve_distribution('moons', curves.moons()),
    curves.curve_distribution('spiral', curves.spiral()),
    parabolas.parabola_distribution(),
  )
}
