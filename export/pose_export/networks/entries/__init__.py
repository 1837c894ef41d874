"""Every network that has a name: one file per family. Importing this registers them and loads no torch."""

from pose_export.networks.entries import cascade as cascade
from pose_export.networks.entries import cpm as cpm
from pose_export.networks.entries import hourglass as hourglass
from pose_export.networks.entries import hrnet as hrnet
from pose_export.networks.entries import simple_baseline as simple_baseline
from pose_export.networks.entries import tiny as tiny
