"""Budgets, recipes, augmentation, the training loop and its checkpoints."""
