"""Asks UIS itself: the Data API for what was, the Call API for a call."""
