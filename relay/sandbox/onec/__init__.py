"""The simulated 1C."""
