"""Iterates the maps of every update rule on the Dirac-GAN, derived on paper, in NumPy.

The data are the point 0, G(z) = theta, D(x) = psi x (Mescheder et al., 2018): the real logit is 0
and the fake one b = psi theta. With p and q the slopes of D's and G's loss in b, and the penalties'
r(psi) = (r1 + r2) psi + 2 gp (|psi| - 1) sign(psi), the players descend the field

  v(psi, theta) = (p(b) theta + r(psi), q(b) psi).
"""

import functools
import math

import numpy as np

from gan_jax.gan.losses import LOSSES
from tests.helpers.dirac_game import START, RuleSpec


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def sigmoid_slope(x):
  """Returns the derivative of the sigmoid."""
  return sigmoid(x) * sigmoid(-x)


# (p, p', q, q'): first and second derivatives of D's and of G's loss by the fake logit b.
SLOPES = {
  'non_saturating': (sigmoid, sigmoid_slope, lambda b: -sigmoid(-b), sigmoid_slope),
  'saturating': (sigmoid, sigmoid_slope, lambda b: -sigmoid(b), lambda b: -sigmoid_slope(b)),
  'least_squares': (lambda b: b, lambda b: 1.0, lambda b: b - 1, lambda b: 1.0),
  'hinge': (lambda b: float(b > -1), lambda b: 0.0, lambda b: -1.0, lambda b: 0.0),
  'wasserstein': (lambda b: 1.0, lambda b: 0.0, lambda b: -1.0, lambda b: 0.0),
  # The real logit is 0 for every psi, so a pair's difference is the fake logit.
  'relativistic': (sigmoid, sigmoid_slope, lambda b: -sigmoid(-b), sigmoid_slope),
}


def d_slope(case, psi, theta):
  """Returns D's gradient v_1."""
  p, _, _, _ = SLOPES[case.loss]
  slope = p(psi * theta) * theta + (case.r1 + case.r2) * psi
  return slope + 2 * case.gp * (np.abs(psi) - 1) * np.sign(psi) if case.gp else slope


def g_slope(case, psi, theta):
  """Returns G's gradient v_2."""
  _, _, q, _ = SLOPES[case.loss]
  return q(psi * theta) * psi


def d_curvature(case, psi, theta):
  """Returns d v_1 / d psi."""
  _, dp, _, _ = SLOPES[case.loss]
  return dp(psi * theta) * theta**2 + case.r1 + case.r2 + 2 * case.gp


def gradient_field(case, w):
  """Returns v + consensus J^T v, J the Jacobian of v; J^T v is the gradient of 1/2 |v|^2."""
  v = np.array([d_slope(case, *w), g_slope(case, *w)])
  if not case.consensus:
    return v
  (psi, theta), (p, dp, q, dq) = w, SLOPES[case.loss]
  b = psi * theta
  j = np.array(
    [
      [d_curvature(case, psi, theta), dp(b) * b + p(b)],
      [dq(b) * b + q(b), dq(b) * psi**2],
    ]
  )
  return v + case.consensus * j.T @ v


def clip_psi(case, w):
  return np.array([np.clip(w[0], -case.clip, case.clip), w[1]])


def alternating(case, w):
  """psi' = psi - h_D v_1(psi, theta), k times; then theta' = theta - h_G v_2(psi', theta)."""
  (psi, theta), t = w, 0
  while True:
    for _ in range(math.ceil((t + 1) * case.k) - math.ceil(t * case.k)):
      psi = np.clip(psi - case.d_rate * d_slope(case, psi, theta), -case.clip, case.clip)
    theta = theta - case.g_rate * g_slope(case, psi, theta)
    t += 1
    yield psi, theta


def unrolled(n, case, w):
  """`alternating` with k = 1, but G descends L_G(psi_n(theta) theta): from psi_0 = psi', n more updates of D.

  With s_j = d psi_j / d theta: s_0 = 0, s_{j+1} = s_j - h_D (p'(b_j) (psi_j + theta s_j) theta +
  p(b_j) + r'(psi_j) s_j), or 0 where the clip holds; G descends q(psi_n theta) (psi_n + theta s_n).
  """
  (psi, theta), (p, dp, q, _) = w, SLOPES[case.loss]
  while True:
    psi = np.clip(psi - case.d_rate * d_slope(case, psi, theta), -case.clip, case.clip)
    ahead, s = psi, 0.0
    for _ in range(n):
      b, r_slope = ahead * theta, case.r1 + case.r2 + 2 * case.gp
      s = s - case.d_rate * (dp(b) * (ahead + theta * s) * theta + p(b) + r_slope * s)
      ahead = ahead - case.d_rate * d_slope(case, ahead, theta)
      if abs(ahead) > case.clip:
        ahead, s = np.clip(ahead, -case.clip, case.clip), 0.0
    theta = theta - case.g_rate * q(ahead * theta) * (ahead + theta * s)
    yield psi, theta


def simultaneous(case, w):
  """w' = w - h v(w)."""
  h = np.array([case.d_rate, case.g_rate])
  while True:
    w = clip_psi(case, w - h * gradient_field(case, w))
    yield w


def extragradient(case, w):
  """w' = w - h v(w - h v(w)), clipped at both points."""
  h = np.array([case.d_rate, case.g_rate])
  while True:
    ahead = clip_psi(case, w - h * gradient_field(case, w))
    w = clip_psi(case, w - h * gradient_field(case, ahead))
    yield w


def optimistic(case, w):
  """w' = w + 2 u - u_before, u = -h v(w), the first u_before 0."""
  h, before = np.array([case.d_rate, case.g_rate]), 0.0
  while True:
    u = -h * gradient_field(case, w)
    w, before = clip_psi(case, w + 2 * u - before), u
    yield w


def rk4(case, w):
  """The tableau of Kutta (1901), in time units of the two rates; only the end point is clipped."""
  h = np.array([case.d_rate, case.g_rate])
  slope = lambda w: -h * gradient_field(case, w)
  while True:
    a = slope(w)
    b = slope(w + a / 2)
    c = slope(w + b / 2)
    d = slope(w + c)
    w = clip_psi(case, w + (a + 2 * b + 2 * c + d) / 6)
    yield w


class Adam:
  """Implements Adam (Kingma & Ba, 2015) in NumPy: a call maps a gradient to an update."""

  def __init__(self, rate, b1=0.5, b2=0.9, eps_root=0.0):
    self.rate, self.b1, self.b2, self.eps_root = rate, b1, b2, eps_root
    self.m = self.v = 0.0
    self.t = 0

  def __call__(self, g):
    self.t += 1
    self.m = self.b1 * self.m + (1 - self.b1) * g
    self.v = self.b2 * self.v + (1 - self.b2) * g**2
    m, v = self.m / (1 - self.b1**self.t), self.v / (1 - self.b2**self.t)
    return -self.rate * m / (np.sqrt(v + self.eps_root) + 1e-8)

  def copy(self):
    other = Adam(self.rate, self.b1, self.b2, self.eps_root)
    other.m, other.v, other.t = self.m, self.v, self.t
    return other


def alternating_adam(case, w):
  (psi, theta), d, g = w, Adam(case.d_rate), Adam(case.g_rate)
  while True:
    psi = psi + d(d_slope(case, psi, theta))
    theta = theta + g(g_slope(case, psi, theta))
    yield psi, theta


def optimistic_adam(case, w):
  """Algorithm 1 of Daskalakis et al. (2018)."""
  adam, before = Adam(np.array([case.d_rate, case.g_rate])), 0.0
  while True:
    u = adam(gradient_field(case, w))
    w, before = w + 2 * u - before, u
    yield w


def extragradient_adam(case, w):
  """Algorithm 4 of Gidel et al. (2019), on one minibatch: both gradients enter the moments."""
  adam = Adam(np.array([case.d_rate, case.g_rate]))
  while True:
    ahead = w + adam(gradient_field(case, w))
    w = w + adam(gradient_field(case, ahead))
    yield w


def unrolled_adam(n, case, w):
  """G's gradient through D's Adam by a complex step, f'(x) = Im f(x + i e) / e, free of cancellation."""
  (psi, theta), (p, _, q, _) = w, SLOPES[case.loss]
  d, g = Adam(case.d_rate, eps_root=1e-16), Adam(case.g_rate, eps_root=1e-16)
  while True:
    psi = psi + d(d_slope(case, psi, theta))
    shifted, ahead, adam = theta + 1e-30j, psi + 0j, d.copy()
    for _ in range(n):
      ahead = ahead + adam(p(ahead * shifted) * shifted)
    b = ahead * shifted
    theta = theta + g(q(b.real) * b.imag / 1e-30)
    yield psi, theta


def iterate(rule_map, case, n, point=START):
  """Returns the first n points of a map: [n, 2]."""
  points = rule_map(case, np.array(point))
  return np.array([next(points) for _ in range(n)])


RULES = {
  'alternating': (RuleSpec('alternating'), alternating),
  'unrolled 1': (RuleSpec('unrolled', unroll=1), functools.partial(unrolled, 1)),
  'unrolled 5': (RuleSpec('unrolled', unroll=5), functools.partial(unrolled, 5)),
  'simultaneous': (RuleSpec('simultaneous'), simultaneous),
  'extragradient': (RuleSpec('extragradient'), extragradient),
  'optimistic': (RuleSpec('optimistic'), optimistic),
  'rk4': (RuleSpec('rk4'), rk4),
}
ADAM = {
  'alternating': (RuleSpec('alternating', adam=True), alternating_adam),
  'extragradient': (RuleSpec('extragradient', adam=True), extragradient_adam),
  'optimistic': (RuleSpec('optimistic', adam=True), optimistic_adam),
  'unrolled 3': (RuleSpec('unrolled', unroll=3, adam=True), functools.partial(unrolled_adam, 3)),
}
CONSENSUS = RuleSpec('simultaneous', consensus=True)
GAMES = {loss: {'loss': loss} for loss in LOSSES} | {
  'wasserstein, r1': {'r1': 0.5},
  'wasserstein, r2': {'r2': 0.8},
  'wasserstein, gradient penalty': {'gp': 1.5},
  'wasserstein, clipped': {'clip': 0.6},
  'non_saturating, r1 and r2': {'loss': 'non_saturating', 'r1': 0.3, 'r2': 0.5},
  'hinge, gradient penalty, clipped': {'loss': 'hinge', 'gp': 0.4, 'clip': 1.1},
}
