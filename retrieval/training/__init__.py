"""Fits the models with torch: the towers and NeuralMF, with checkpoints and early stopping."""
