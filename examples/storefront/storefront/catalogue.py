"""What the shop sells; prices in cents."""

from __future__ import annotations

from typing import NamedTuple


class Product(NamedTuple):
    """`drawing` is the inside of an SVG of 100 by 100."""

    id: str
    name: str
    line: str
    cents: int
    drawing: str

    @property
    def price(self) -> str:
        """The price as people read it."""
        return f"{self.cents / 100:.2f}"


PRODUCTS = {
    product.id: product
    for product in (
        Product(
            "disc",
            "Flying disc",
            "175 grams, straight as a promise.",
            1490,
            '<ellipse cx="50" cy="54" rx="40" ry="17" class="b"/><ellipse cx="50" cy="49" rx="40" ry="17" class="a"/>'
            '<ellipse cx="50" cy="47" rx="27" ry="10" class="c"/>',
        ),
        Product(
            "boomerang",
            "Boomerang",
            "Birch ply. Rolls back by itself.",
            2350,
            '<path d="M16 76 Q40 22 84 18 Q92 20 88 28 Q56 34 30 82 Q20 88 16 76Z" class="a"/><path d="M27 68 Q42 38 74 26" class="l"/>',
        ),
        Product(
            "plane",
            "Paper plane",
            "Ships in one piece. Fold it yourself.",
            190,
            '<path d="M8 50 L92 16 L60 84 L48 60Z" class="a"/><path d="M92 16 L48 60 L50 82 L60 68Z" class="b"/>',
        ),
        Product(
            "balls",
            "Juggling balls",
            "Three in the air, none on the floor.",
            1850,
            '<circle cx="28" cy="66" r="17" class="a"/><circle cx="70" cy="70" r="17" class="b"/><circle cx="52" cy="28" r="17" class="c"/>',
        ),
        Product(
            "horseshoe",
            "Horseshoe",
            "Forged. Close counts.",
            2790,
            '<path d="M26 84 Q6 20 50 16 Q94 20 74 84 L62 84 Q76 34 50 32 Q24 34 38 84Z" class="a"/>'
            '<circle cx="30" cy="50" r="3" class="h"/><circle cx="70" cy="50" r="3" class="h"/><circle cx="50" cy="24" r="3" class="h"/>',
        ),
        Product(
            "kite",
            "Throwing kite",
            "Takes off from the hand, no run-up.",
            3200,
            '<path d="M50 8 L80 40 L50 74 L20 40Z" class="a"/><path d="M50 8 L80 40 L50 74Z" class="b"/>'
            '<path d="M50 74 Q40 82 52 88 T48 98" class="l"/>',
        ),
    )
}

MAX_OF_ONE = 99


def check_order(found: object) -> dict[str, int]:
    """Amounts by product, of JSON like {"items": {"disc": 2}}; raises ValueError that says what is wrong."""
    items = found.get("items") if isinstance(found, dict) else None
    if not isinstance(items, dict) or not items:
        raise ValueError('expected {"items": {"<product>": <amount>}}')
    for name, amount in items.items():
        if name not in PRODUCTS:
            raise ValueError(f"there is no product {name!r}")
        if isinstance(amount, bool) or not isinstance(amount, int) or not 1 <= amount <= MAX_OF_ONE:
            raise ValueError(f"the amount of {name} must be 1 to {MAX_OF_ONE}")
    return items


def total(items: dict[str, int]) -> int:
    """What the order costs, in cents."""
    return sum(PRODUCTS[name].cents * amount for name, amount in items.items())
