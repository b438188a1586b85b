"""Trials: their identity, plan, store, execution, and what they left behind."""
