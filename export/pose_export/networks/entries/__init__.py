"""Every network that has a name: one file per family. Importing this registers them and loads no torch."""

from pose_export.networks.entries import cascade as cascade
from pose_export.networks.entries import hrnet as hrnet
from pose_export.networks.entries import tiny as tiny
