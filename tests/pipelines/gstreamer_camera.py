"""GStreamer's RTSP server as a camera, a program of its own for the system's Python: `gstreamer_camera.py PORT`.

Prints its port once it answers. Port 0 takes any.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PIPELINE = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=64,height=48,framerate=25/1 "
    "! jpegenc ! rtpjpegpay name=pay0 pt=26 )"
)

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(PIPELINE)
server.get_mount_points().add_factory("/top", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
