"""Training: data, augmentation, targets, losses, and the loop behind `pose-train`."""
