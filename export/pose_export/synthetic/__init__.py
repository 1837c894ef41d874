"""Synthetic people: photographs of scenes whose keypoints are known exactly."""
