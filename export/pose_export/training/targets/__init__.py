"""What a network shall answer: NumPy arrays made from keypoints, in the data workers. No torch here.

Coordinates are x, y in pixels of the map, the centre of its first pixel at (0, 0); `places.to_map` brings them there.
"""
