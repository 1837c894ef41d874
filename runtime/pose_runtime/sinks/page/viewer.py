"""One who looks: what was sent, what arrived, and what is worth sending next.

A viewer says which pictures arrived; never more than a few are on the way. So a slow line or a slow phone gets fewer
pictures, each as new as the line allows, and holds no memory here.
"""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from pose_runtime.sinks.page.feed import Feed
from pose_runtime.sinks.page.picture import Picture

ON_THE_WAY = 3  # pictures: enough for 15 a second at a round trip of 200 ms
SEND_S = 15.0  # a message that takes longer has nobody at its other end
DEAF_S = 60.0  # without a word of a picture that was sent: nobody is there, though the connection is

_MOST_WISHES = 120  # a second: far above one per picture


class _Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the page says: the source it wants to see (null for none), or the number of a picture that arrived."""

    watch: str | msgspec.UnsetType | None = msgspec.UNSET
    got: int | msgspec.UnsetType = msgspec.UNSET


_DECODER = msgspec.json.Decoder(_Wish)


class Rude(Exception):  # noqa: N818  # the viewer's fault, not ours
    """A message that is none, or too many of them."""


class Viewer:
    """A page in a browser.

    Attributes:
        changed: there may be something to send.
        watched: name of the source it looks at.
    """

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.watched: str | None = None
        self._news: list[str] = []
        self._feed: Feed | None = None
        self._sent = self._got = self._last = 0
        self._heard_s = 0.0
        self._second, self._wishes = 0, 0

    def hear(self, data: str | bytes) -> bool:
        """Take a message; True if it wants to see another source. Raises Rude."""
        second = int(_now_s())
        self._wishes = self._wishes + 1 if second == self._second else 1
        self._second = second
        try:
            wish = _DECODER.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Rude("not understood") from None
        if self._wishes > _MOST_WISHES:
            raise Rude("too many messages")
        if wish.got is not msgspec.UNSET and self._got < wish.got <= self._sent:
            self._got, self._heard_s = wish.got, _now_s()
            self.changed.set()
        if wish.watch is msgspec.UNSET or wish.watch == self.watched:
            return False
        self.watched = wish.watch
        return True

    def tell(self, news: str) -> None:
        """Send this; what it would not take until now is dropped but for the first, which has the history."""
        del self._news[1:]
        self._news.append(news)
        self.changed.set()

    def look_at(self, feed: Feed | None) -> None:
        """Pictures of that feed from now on."""
        if feed is self._feed:
            return
        if self._feed is not None:
            self._feed.leave(self)
        self._feed, self._last = feed, 0
        if feed is not None:
            feed.join(self)

    def next_picture(self) -> Picture | None:
        """The newest one, if it was not sent and there is room on the way."""
        picture = None if self._feed is None else self._feed.picture
        if picture is None or picture.number == self._last or self._sent - self._got >= ON_THE_WAY:
            return None
        if self._sent == self._got:
            self._heard_s = _now_s()
        self._last = picture.number
        self._sent += 1
        return picture

    async def serve(self, socket: web.WebSocketResponse) -> None:
        """Send news and pictures until the connection is gone.

        Raises:
            asyncio.TimeoutError: it takes nothing any more.
            ConnectionError: it went away.
        """
        while True:
            await self.changed.wait()
            self.changed.clear()
            if self._sent > self._got and _now_s() - self._heard_s > DEAF_S:
                raise asyncio.TimeoutError
            news, self._news = self._news, []
            for one in news:
                await asyncio.wait_for(socket.send_str(one), SEND_S)
            picture = self.next_picture()
            if picture is not None:
                await asyncio.wait_for(socket.send_bytes(picture.message), SEND_S)
                self.changed.set()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
