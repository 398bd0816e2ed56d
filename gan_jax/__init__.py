"""Generative adversarial networks as pure functions: train them, measure them, and say whether it worked."""
