"""The main job, step by step: prepare, fit, choose, evaluate, refit, save."""
