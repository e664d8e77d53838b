"""Alerts: tells people what is wrong, once, and when it is over. Never disturbs what it watches."""
