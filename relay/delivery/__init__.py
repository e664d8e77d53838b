"""Delivery: one lane per target claims, sends, records. Knows no concrete target and no Flask."""
