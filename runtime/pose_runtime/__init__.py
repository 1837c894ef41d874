"""Device side: bundles, engines, pipelines and decoders. Imports no torch, onnx or engine."""
