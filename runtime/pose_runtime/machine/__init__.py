"""What machine this is: board, GPU, versions, sensors. Read from files and short probes, nothing is changed."""
