"""Who takes part: each peer that was asked for, in its own environment, or why it is missing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .environments import LITSERVE, MMS, TORCHSERVE, PeerMissing, of_checkout
from .models import CHECKOUT
from .other_peers import LitServe, TorchServe
from .peers import BareAiohttp, Ours, Peer, RealMMS

DEFAULT = ("ours", "ours-plain", "mms", "mms-tuned", "aiohttp")
ON_REQUEST = ("torchserve", "litserve")
BEFORE = "before"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where things are."""

    cache: Path
    """For the environments that are made."""
    python: Path | None = None
    """Runs `ours`, `before` and `aiohttp`, instead of the environments made for them."""
    before: Path | None = None
    """Another checkout."""
    mms_venv: Path | None = None
    """An environment with the real MMS, instead of one made for it."""

    def our_python(self, checkout: Path) -> Path:
        """Return the interpreter for a checkout with the extra `fast`; raises PeerMissing."""
        return self.python or _python(of_checkout(checkout, "mxnet", "fast").installed(self.cache))

    def plain_python(self) -> Path:
        """Return the interpreter for ours without that extra; raises PeerMissing."""
        return _python(of_checkout(CHECKOUT, "mxnet").installed(self.cache))

    def mms(self) -> Path:
        """Return the environment of the real MMS; raises PeerMissing."""
        return self.mms_venv or MMS.installed(self.cache)


def find_peers(names: Sequence[str], places: Places, *, report: Callable[[str], None]) -> list[Peer]:
    """Make the named peers; those that are missing are reported and left out. An unknown name is a ValueError."""
    makers = _makers(places)
    unknown = [name for name in names if name not in makers]
    if unknown:
        raise ValueError(f"No peer is called {', '.join(unknown)}. There are {', '.join((*DEFAULT, *ON_REQUEST))}.")
    found = []
    for name in (*names, BEFORE) if BEFORE in makers and BEFORE not in names else names:
        try:
            found.append(makers[name]())
        except PeerMissing as exc:
            report(f"Without {name}: {exc}.")
    return found


def _makers(places: Places) -> Mapping[str, Callable[[], Peer]]:
    makers: dict[str, Callable[[], Peer]] = {
        "ours": lambda: Ours(places.our_python(CHECKOUT), CHECKOUT),
        "ours-plain": lambda: Ours(places.plain_python(), CHECKOUT, name="ours-plain"),
        "mms": lambda: RealMMS(places.mms()),
        "mms-tuned": lambda: RealMMS(places.mms(), tuned=True),
        "aiohttp": lambda: BareAiohttp(places.our_python(CHECKOUT)),
        "torchserve": lambda: TorchServe(TORCHSERVE.installed(places.cache)),
        "litserve": lambda: LitServe(LITSERVE.installed(places.cache)),
    }
    before = places.before
    if before is not None:
        makers[BEFORE] = lambda: Ours(places.our_python(before), before, name=BEFORE)
    return makers


def _python(venv: Path) -> Path:
    # Not resolved: the link in the environment is what makes Python use it.
    return venv / "bin" / "python"
