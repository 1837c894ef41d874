"""Kinds of backdrop, one file each; `pose_export.synthetic.backdrop` picks among them."""
