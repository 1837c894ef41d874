"""Who gets in, and what a browser may do with what it gets.

A page on a loopback address is open to this machine; on any other it wants a token. Against web sites that turn a
visitor's browser on the page: the Host header must name this machine (DNS rebinding), a foreign Origin or a
cross-site fetch is refused (cross-site WebSockets, embedded pictures), and nothing may frame the page.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import urlsplit

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_COOKIE_S = 30 * 24 * 3600
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def add_headers(response: web.StreamResponse) -> None:
    """The security headers, on every answer."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)


class Access:
    """Decides on requests.

    Args:
        token: that a viewer must show; None lets everybody in.
        host: that the server listens on.
        hosts: names beside the machine's own and its IP addresses. A proxy there may change the Host header.
        cookie: name under which a browser keeps the token.
    """

    def __init__(self, token: str | None, host: str, hosts: Iterable[str], cookie: str) -> None:
        self.token = token
        own = socket.gethostname().lower()
        self._proxies = {host.lower() for host in hosts}
        self._hosts = {"localhost", own, f"{own}.local", host.lower(), *self._proxies}
        self._cookie = cookie

    def check_site(self, request: web.Request) -> None:
        """Raises HTTPForbidden unless the request means this server and no foreign web site has made it."""
        host = request.headers.get("Host", "")
        if not self._is_ours(_name_of(f"//{host}")):
            raise _refused(
                f"This page is not known as {host[:100]!r}. Open it by its IP address, or name it in `hosts`."
            )
        origin = request.headers.get("Origin")
        if origin is not None and _place_of(origin) != host.lower() and _name_of(origin) not in self._proxies:
            raise _refused("Another web site made this request.")
        site, mode = request.headers.get("Sec-Fetch-Site", ""), request.headers.get("Sec-Fetch-Mode", "")
        if site in ("cross-site", "same-site") and mode != "navigate":
            raise _refused("Another web site made this request.")

    def check_token(self, request: web.Request) -> None:
        """Raises HTTPUnauthorized unless the token is shown: by cookie, as a bearer token, or in the query."""
        if self.token is None:
            return
        bearer = request.headers.get("Authorization", "")
        shown = (
            request.cookies.get(self._cookie, ""),
            bearer[7:] if bearer[:7].lower() == "bearer " else "",
            request.query.get("token", ""),
        )
        wanted = self.token.encode()
        if not any(secrets.compare_digest(one.encode("utf-8", "replace"), wanted) for one in shown):
            raise web.HTTPUnauthorized(
                text="This page wants its token: open the address with ?token=… that jetpose logs at its start, or add "
                "the token from the file that `token_file` names.\n",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def remember(self, response: web.Response) -> None:
        """Let the browser keep the token, out of reach of scripts and of other sites."""
        assert self.token is not None
        response.set_cookie(self._cookie, self.token, max_age=_COOKIE_S, httponly=True, samesite="Strict", path="/")

    def _is_ours(self, name: str) -> bool:
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)  # which no other site's name server can give out
        except ValueError:
            return False
        return True


def _refused(text: str) -> web.HTTPForbidden:
    return web.HTTPForbidden(text=text + "\n")


def _name_of(url: str) -> str:
    """Host of a URL, without port and brackets; empty if it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _place_of(url: str) -> str:
    """Host and port of a URL, as the Host header names them."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""
