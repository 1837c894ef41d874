"""A web page that shows a live run: pictures with skeletons, numbers, metrics for Prometheus, a health check.

Needs `pip install 'jetpose[live]'`; only `open_page` loads what that installs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pose_runtime.errors import SinkError
from pose_runtime.live.status import Status
from pose_runtime.sinks.page.options import ServeOptions

if TYPE_CHECKING:
    from pose_runtime.sinks.page.page import Page

__all__ = ["ServeOptions", "open_page"]


def open_page(options: ServeOptions, status: Callable[[], Status]) -> Page:
    """The page at its address, serving from now on; the caller closes it.

    Args:
        options: where and for whom.
        status: of the run; it is called from the page's thread, about once a second.

    Raises:
        SinkError: the address cannot be taken, the token file cannot be read, or a package is missing.
    """
    try:
        from pose_runtime.sinks.page.page import Page
    except ImportError as error:
        raise SinkError(f"page: {error.name or 'aiohttp'} is needed: pip install 'jetpose[live]'") from error
    return Page(options, status)
