"""The frame path on a GPU: device, kernels, graphs. Only `device` and `graph` touch CUDA, through pycuda."""
