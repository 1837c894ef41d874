"""Bundles on a device: installed, signed, switched atomically, and taken back when they do not work.

root/NAME-DIGEST12.pose/     an installed bundle; DIGEST12 begins the SHA-256 of its manifest.json
root/NAME-DIGEST12.pose.sig  its signature, if it has one
root/current                 link to the bundle that serves
root/previous                link to the one that served before
root/switch.json             the last switch, see `switch.py`
root/.lock, root/.files.lock empty; held while links are switched, and while bundles come or go
"""

from pose_runtime.store.store import BundleStore, Installed, Serving

__all__ = ["BundleStore", "Installed", "Serving"]
