"""1C:Enterprise HTTP services like UIScom."""
