"""A real RTSP server on loopback: `/usr/bin/python3 rtsp_server.py PORT [user:password]`; runs until it is killed.

Streams: /live (H.264, 30 FPS), /small (15 FPS, 320 x 240), /sizes (changes its size after 2 s).
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

ENCODE = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtph264pay name=pay0 config-interval=1 pt=96"
SOURCE = "videotestsrc is-live=true pattern=smpte75 ! video/x-raw,format=I420"


def stream(server: "GstRtspServer.RTSPServer", path: str, launch: str) -> "GstRtspServer.RTSPMediaFactory":
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {launch} )")
    factory.set_shared(True)
    server.get_mount_points().add_factory(path, factory)
    return factory


def change_size(_factory: object, media: "GstRtspServer.RTSPMedia") -> None:
    caps = media.get_element().get_by_name("size")

    def change() -> bool:
        caps.set_property("caps", Gst.Caps.from_string("video/x-raw,width=640,height=480"))
        return False

    GLib.timeout_add(2000, change)


def protect(server: "GstRtspServer.RTSPServer", login: str) -> None:
    """Only who knows the login may see anything."""
    auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(*login.split(":", 1)), token)
    server.set_auth(auth)


def main() -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[1])
    factories = [
        stream(server, "/live", f"{SOURCE},width=1280,height=720,framerate=30/1 ! {ENCODE}"),
        stream(server, "/small", f"{SOURCE},width=320,height=240,framerate=15/1 ! {ENCODE}"),
        stream(
            server,
            "/sizes",
            f"{SOURCE},framerate=15/1 ! videoscale ! capsfilter name=size "
            f"caps=video/x-raw,width=320,height=240 ! {ENCODE}",
        ),
    ]
    factories[2].connect("media-configure", change_size)
    if len(sys.argv) > 2:
        protect(server, sys.argv[2])
        for factory in factories:
            factory.add_role_from_structure(
                Gst.Structure.from_string("user, media.factory.access=true, media.factory.construct=true")[0]
            )
    if server.attach(None) == 0:
        sys.exit("port in use")
    print("ready", flush=True)
    GLib.MainLoop().run()


main()
