"""What whoever asks a web server has to keep to: limits, who asks, which addresses, how often."""

from __future__ import annotations

from dataclasses import dataclass

from reelscript.transforms.web.addresses import AddressGuard
from reelscript.transforms.web.download import Limits
from reelscript.transforms.web.manners import Manners


@dataclass(frozen=True, slots=True)
class Web:
    """Passed along to all that fetches from the web; can be pickled.

    Attributes:
        limits: what one download may take.
        user_agent: the User-Agent header.
        guard: which addresses may be asked.
        manners: how often, shared by all processes of this machine.
        proxy: `http://host:port` of a proxy that all requests go through; None: the one that the
            environment names (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY), if any.
    """

    limits: Limits
    user_agent: str
    guard: AddressGuard
    manners: Manners
    proxy: str | None = None
