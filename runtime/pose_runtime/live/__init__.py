"""Frames that do not wait: capture, inference and output in threads of their own, newest frame first."""
