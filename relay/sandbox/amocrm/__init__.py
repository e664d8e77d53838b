"""A simulated amoCRM account."""
