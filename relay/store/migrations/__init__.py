"""The schema's history, in numbered steps."""
