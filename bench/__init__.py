"""Measures the relay against baselines in the same run. Loopback only; every load is bounded."""
