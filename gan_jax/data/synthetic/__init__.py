"""Games by name: endless, seeded data whose truth is known in closed form, so that samples can be judged."""

from gan_jax.data.synthetic import curves, mixtures, parabolas, point_mass
from gan_jax.data.synthetic.distribution import Density, Game, density_of

__all__ = ['GAMES', 'Density', 'Game', 'density_of']

GAMES: dict[str, Game] = {
  game.name: game
  for game in (
    point_mass.game(),
    mixtures.gaussian_game(),
    mixtures.modes_game('ring', mixtures.ring()),
    mixtures.modes_game('grid', mixtures.grid()),
    curves.game('moons', curves.moons()),
    curves.game('spiral', curves.spiral()),
    parabolas.game(),
  )
}
