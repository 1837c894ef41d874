"""Accuracy metrics of pose networks."""
