"""INT8 for pose networks, decided by the poses: ranges, placement, sensitivity, accuracy."""
