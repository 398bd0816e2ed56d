"""Defines a GAN as pure functions: networks, losses, penalties, update rules and the training step."""
