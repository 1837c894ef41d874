"""Workstation side: networks, checkpoints, ONNX, bundles. torch lives here only."""
