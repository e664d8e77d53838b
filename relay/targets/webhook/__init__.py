"""Any HTTP address."""
