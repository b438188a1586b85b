"""Means over networks that were each trained without one of five folds."""
