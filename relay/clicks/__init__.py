"""Places a call when somebody clicks on a number: at most once."""
