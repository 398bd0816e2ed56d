"""Measures and pictures the samples of a trained generator."""
