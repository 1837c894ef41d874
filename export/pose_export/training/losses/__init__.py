"""What a network's answer costs: torch functions of outputs and targets.

All compute in float32, whatever the outputs' type, so that they may stand under bfloat16 autocast.
"""
