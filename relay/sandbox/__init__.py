"""Simulators for trying out and for the tests: of UIS, and of the systems that notifications go to."""
