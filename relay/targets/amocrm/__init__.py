"""amoCRM."""
