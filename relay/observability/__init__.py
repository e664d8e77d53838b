"""What the relay tells of itself: log lines and metrics."""
