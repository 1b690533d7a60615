"""A camera as the RTSP client sees one: RFC 2326 over TCP, with JPEG over RTP (RFC 2435) interleaved.

It serves grey pictures whose brightness tells their number, at a camera's pace.
"""

import io
import socket
import struct
import threading
import time
from collections.abc import Callable

import numpy as np
from PIL import Image as PillowImage

TICKS = 90_000
"""RTP's clock for video, per second."""
WIDTH, HEIGHT, RATE = 64, 48, 25
_SSRC = 0x1234
_IN_BAND_TABLES = 255
_PAYLOAD_JPEG = 26


def brightness(number: int) -> int:
    """What the picture of a number, counted from 0, is filled with."""
    return 20 + 2 * (number % 100)


class Camera:
    """Serves one client at a time until it is closed. `lost` says which pictures never reach the wire."""

    def __init__(self, *, port: int = 0, lost: Callable[[int], bool] = lambda number: False) -> None:
        self._lost = lost
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._closed = threading.Event()
        self._clients: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"rtsp://user:secret@127.0.0.1:{self.port}/top?key=secret"

    def close(self) -> None:
        """Pull the plug."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in self._clients:
            client.close()
        self._thread.join(timeout=30)

    def _serve(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
                self._clients.append(client)
                self._talk(client)
            except OSError:
                continue

    def _talk(self, client: socket.socket) -> None:
        requests = client.makefile("rb")
        while line := requests.readline():
            method, url = line.decode().split()[:2]
            headers = {}
            while header := requests.readline().strip():
                name, _, value = header.decode().partition(":")
                headers[name.lower()] = value.strip()
            answer, body = ["RTSP/1.0 200 OK", f"CSeq: {headers['cseq']}", "Session: 1"], b""
            if method == "DESCRIBE":
                body = (
                    f"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
                    f"m=video 0 RTP/AVP {_PAYLOAD_JPEG}\r\na=framerate:{RATE}\r\na=control:track1\r\n"
                ).encode()
                answer += ["Content-Type: application/sdp", f"Content-Base: {url}/", f"Content-Length: {len(body)}"]
            elif method == "SETUP":
                if "TCP" not in headers["transport"]:
                    answer[0] = "RTSP/1.0 461 Unsupported Transport"
                answer.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
            client.sendall("\r\n".join([*answer, "", ""]).encode() + body)
            if method == "PLAY":
                self._play(client)
                return

    def _play(self, client: socket.socket) -> None:
        began, number, packets = time.monotonic(), 0, 0
        while not self._closed.wait(max(0, began + number / RATE - time.monotonic())):
            if not self._lost(number):
                packet = _packet(number, packets)
                client.sendall(b"$\x00" + struct.pack(">H", len(packet)) + packet)
                packets += 1
            number += 1


def _packet(number: int, packets: int) -> bytes:
    """One picture as one RTP packet: they are small."""
    buffer = io.BytesIO()
    pixels = np.full((HEIGHT, WIDTH, 3), brightness(number), np.uint8)
    PillowImage.fromarray(pixels).save(buffer, "JPEG", quality=90, subsampling="4:2:0")
    tables, scan = _tables_and_scan(buffer.getvalue())
    rtp = struct.pack(
        ">BBHII", 0x80, 0x80 | _PAYLOAD_JPEG, packets & 0xFFFF, number * TICKS // RATE & 0xFFFFFFFF, _SSRC
    )
    jpeg = struct.pack(">IBBBB", 0, 1, _IN_BAND_TABLES, WIDTH // 8, HEIGHT // 8)
    return rtp + jpeg + struct.pack(">BBH", 0, 0, len(tables)) + tables + scan


def _tables_and_scan(jpeg: bytes) -> tuple[bytes, bytes]:
    """The quantization tables and the entropy-coded data of a JPEG file with the standard Huffman tables."""
    tables, at = b"", 2
    while True:
        marker, length = struct.unpack(">HH", jpeg[at : at + 4])
        segment = jpeg[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == 0xFFDB:
            tables += b"".join(segment[start + 1 : start + 65] for start in range(0, len(segment), 65))
        if marker == 0xFFDA:
            return tables, jpeg[at:-2]
