"""Everything that jetpose raises on purpose.

PoseError
├── BundleError      a bundle is missing, damaged, hostile or of another version
├── FrameError       a frame's planes, format, size or strides do not fit together
├── DecodeError      network outputs that a decoder cannot take
├── EngineError      an engine that cannot be opened or that failed
├── SourceError      an image, video or camera that cannot be read
├── ConfigError      settings that are unknown, out of bounds or contradict each other
├── SinkError        a result that cannot be written or shown
├── ExportError      a network, checkpoint or preset that cannot become a bundle
└── CalibrationError pictures, ranges or a plan from which no INT8 graph can be made
"""

from __future__ import annotations


class PoseError(Exception):
    """Base of all errors; the message says what, got, wanted, and what to do."""


class BundleError(PoseError):
    """A bundle is missing, damaged, hostile or of another version."""


class FrameError(PoseError, ValueError):
    """A frame's planes, format, size or strides do not fit together."""


class DecodeError(PoseError, ValueError):
    """Network outputs that a decoder cannot take."""


class EngineError(PoseError):
    """An engine that cannot be opened or that failed."""


class SourceError(PoseError):
    """An image, video or camera that cannot be read."""


class SinkError(PoseError):
    """A result that cannot be written or shown."""


class ConfigError(PoseError):
    """Settings that are unknown, out of bounds or contradict each other."""


class ExportError(PoseError):
    """A network, checkpoint or preset that cannot become a bundle."""


class CalibrationError(PoseError):
    """Pictures, ranges or a plan from which no INT8 graph can be made."""
