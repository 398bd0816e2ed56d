"""Lists synthetic distributions by name: seeded, unlimited data whose true density or support is known."""

from gan_jax.data.synthetic import mixtures, moons_and_spirals, parabolas, point_mass
from gan_jax.data.synthetic.distribution import Density, SyntheticDistribution, density_of

__all__ = ['SYNTHETIC', 'Density', 'SyntheticDistribution', 'density_of']

SYNTHETIC: dict[str, SyntheticDistribution] = {
  distribution.name: distribution
  for distribution in (
    point_mass.dirac_distribution(),
    mixtures.gaussian_distribution(),
    mixtures.mixture_distribution('ring', mixtures.ring()),
    mixtures.mixture_distribution('grid', mixtures.grid()),
    moons_and_spirals.curve_distribution('moons', moons_and_spirals.moons()),
    moons_and_spirals.curve_distribution('spiral', moons_and_spirals.spiral()),
    parabolas.parabola_distribution(),
  )
}
