"""The toys: each function builds one from parts with random proportions.

Frame: z up, the front faces +x, the toy roughly fills the unit ball (`objects.build` centres and scales it
exactly). `r` is a numpy Generator, `c` the colour named by the caption (RGB in [0, 1]).
"""

from __future__ import annotations

import numpy as np

from bridge_nerf.toybox.geometry import Part, affine

BROWN, DARK, CREAM, GRAY = (0.42, 0.26, 0.13), (0.10, 0.10, 0.11), (0.93, 0.88, 0.76), (0.62, 0.63, 0.66)
LEAF, GOLD, ORANGE, WHITE, SKY = (
    (0.15, 0.52, 0.18),
    (0.93, 0.66, 0.16),
    (0.95, 0.52, 0.10),
    (0.95, 0.95, 0.95),
    (0.62, 0.85, 0.97),
)


def _ball(centre, size, colour, turn=(0, 0, 0), **more) -> Part:
    return Part("ball", affine(centre, size, turn), colour, **more)


def _box(centre, size, colour, turn=(0, 0, 0), **more) -> Part:
    return Part("box", affine(centre, size, turn), colour, **more)


def _rod(centre, size, colour, turn=(0, 0, 0), taper=1.0, **more) -> Part:
    return Part("frustum", affine(centre, size, turn), colour, taper=taper, **more)


def _dark(colour, factor=0.6):
    return tuple(factor * v for v in colour)


def _crown(r, base, count, length, spread, colour=LEAF, width=0.09) -> list[Part]:
    """Pointed leaves that leave `base` upwards, `spread` degrees off the axis."""
    leaves = []
    for k in range(count):
        azimuth, tilt = 360 * k / count + r.uniform(-12, 12), spread * r.uniform(0.55, 1.1)
        reach = length * r.uniform(0.8, 1.1)
        up, out = np.cos(np.radians(tilt)) * reach, np.sin(np.radians(tilt)) * reach
        centre = (
            base[0] + out * np.cos(np.radians(azimuth)),
            base[1] + out * np.sin(np.radians(azimuth)),
            base[2] + up,
        )
        shade = colour if k % 2 else _dark(colour, 0.75)
        leaves.append(_rod(centre, (width, width, reach), shade, (0, tilt, azimuth), taper=0.0))
    return leaves


def pineapple(r, c):
    h, w = r.uniform(0.52, 0.62), r.uniform(0.36, 0.44)
    body = _ball((0, 0, -0.25), (w, w, h), GOLD, pattern="diamonds", second=(0.52, 0.33, 0.08))
    top = (0, 0, h - 0.33)
    return [
        body,
        *_crown(r, top, 8, r.uniform(0.24, 0.3), 48),
        *_crown(r, top, 5, r.uniform(0.3, 0.36), 16, (0.22, 0.62, 0.2)),
    ]


def apple(r, c):
    h = r.uniform(0.66, 0.76)
    return [
        _ball((0, 0, -0.1), (0.76, 0.76, h), c),
        _ball((0, 0, h - 0.14), (0.3, 0.3, 0.06), _dark(c, 0.7)),
        _rod((0.02, 0, h + 0.05), (0.05, 0.05, 0.2), BROWN, (0, 12, 0)),
        _ball((0.22, 0.06, h + 0.12), (0.22, 0.1, 0.04), LEAF, (0, -20, r.uniform(-25, 25))),
    ]


def mushroom(r, c):
    w, h = r.uniform(0.7, 0.85), r.uniform(0.36, 0.48)
    return [
        _rod((0, 0, -0.42), (0.27, 0.27, 0.48), CREAM, taper=0.75),
        _ball((0, 0, -0.86), (0.3, 0.3, 0.08), CREAM),
        _ball((0, 0, 0.2), (w, w, h), c, pattern="dots", second=WHITE if min(c) < 0.8 else (0.75, 0.3, 0.25)),
        _rod((0, 0, 0.02), (w * 0.85, w * 0.85, 0.03), _dark(CREAM, 0.85)),
    ]


def snowman(r, c):
    a, b, d = r.uniform(0.42, 0.48), r.uniform(0.31, 0.36), r.uniform(0.22, 0.26)
    y = -0.95 + a
    m = y + a + b * 0.7
    t = m + b + d * 0.6
    eye = d * 0.45
    parts = [_ball((0, 0, y), a, WHITE), _ball((0, 0, m), b, WHITE), _ball((0, 0, t), d, WHITE)]
    parts += [_ball((d * 0.85, s * eye, t + 0.07), 0.045, DARK) for s in (-1, 1)]
    parts += [_ball((b * 0.97, 0, m + k * 0.13), 0.045, DARK) for k in (-1, 1)]
    parts += [_rod((d + 0.12, 0, t - 0.02), (0.055, 0.055, 0.16), ORANGE, (0, 90, 0), taper=0.0)]
    parts += [
        _rod((0, 0, t + d * 0.8), (0.32, 0.32, 0.025), DARK),
        _rod((0, 0, t + d * 0.8 + 0.17), (0.2, 0.2, 0.17), DARK),
    ]
    parts += [
        _rod((0, s * (b + 0.15), m + 0.1), (0.025, 0.025, 0.24), BROWN, (-s * 60, 0, 0)) for s in (-1, 1)
    ]
    return [*parts, _rod((0, 0, m + b * 0.82), (0.25, 0.25, 0.05), (0.8, 0.12, 0.14))]


def cactus(r, c):
    green, rib = (0.20, 0.55, 0.24), (0.12, 0.40, 0.16)
    ribs = {"pattern": "ribs", "second": rib}
    parts = [_rod((0, 0, -0.75), (0.30, 0.30, 0.22), (0.72, 0.36, 0.20), (180, 0, 0), taper=1.25)]
    parts += [_rod((0, 0, -0.53), (0.42, 0.42, 0.05), (0.78, 0.42, 0.25))]
    parts += [_ball((0, 0, 0.15), (0.25, 0.25, 0.78), green, **ribs)]
    for side, height in ((1, r.uniform(-0.05, 0.15)), (-1, r.uniform(0.1, 0.3))):
        parts += [_ball((0, side * 0.32, height), (0.12, 0.26, 0.12), green)]
        parts += [_ball((0, side * 0.5, height + 0.2), (0.13, 0.13, 0.3), green, **ribs)]
    return [*parts, _ball((0.04, 0, 0.92), (0.1, 0.1, 0.07), (0.95, 0.5, 0.7))]


def house(r, c):
    w, d, h = r.uniform(0.52, 0.62), r.uniform(0.5, 0.6), r.uniform(0.34, 0.42)
    roof = (0.45, 0.16, 0.12)
    parts = [_box((0, 0, -0.35), (d, w, h), c)]
    slope = 1 / np.sqrt(2)
    prism = affine((0, 0, h - 0.36), (1, 1, 0.62)) @ affine(
        turn=(45, 0, 0), size=(d * 1.12, w * 1.2 * slope, w * 1.2 * slope)
    )
    parts += [Part("box", prism, roof, pattern="plain")]
    parts += [_box((d, 0, -0.35 - h + 0.24), (0.03, 0.12, 0.24), BROWN)]
    parts += [_box((d, s * w * 0.6, -0.28), (0.03, 0.11, 0.11), SKY) for s in (-1, 1)]
    parts += [_box((0, s * w, -0.3), (0.16, 0.03, 0.13), SKY) for s in (-1, 1)]
    return [*parts, _box((-0.2, 0.28, 0.38), (0.08, 0.08, 0.24), (0.55, 0.3, 0.25))]


def car(r, c):
    long, wide, cab = r.uniform(0.78, 0.88), r.uniform(0.36, 0.42), r.uniform(0.2, 0.25)
    glass = (0.25, 0.32, 0.38)
    parts = [
        _box((0, 0, -0.12), (long, wide, 0.17), c),
        _box((-0.1, 0, 0.05 + cab), (0.42, wide * 0.88, cab), c),
    ]
    parts += [_box((-0.1, 0, 0.08 + cab), (0.435, wide * 0.74, cab * 0.62), glass)]
    parts += [_box((-0.1, 0, 0.08 + cab), (0.34, wide * 0.9, cab * 0.62), glass)]
    for x in (-0.5, 0.5):
        for s in (-1, 1):
            parts += [_rod((x, s * wide, -0.3), (0.19, 0.19, 0.07), DARK, (90, 0, 0))]
            parts += [_rod((x, s * (wide + 0.05), -0.3), (0.09, 0.09, 0.03), GRAY, (90, 0, 0))]
    parts += [_ball((long, s * wide * 0.65, -0.08), (0.04, 0.09, 0.07), (1.0, 0.95, 0.6)) for s in (-1, 1)]
    return parts + [
        _box((-long, s * wide * 0.7, -0.06), (0.02, 0.08, 0.05), (0.7, 0.05, 0.05)) for s in (-1, 1)
    ]


def tree(r, c):
    w = r.uniform(0.5, 0.62)
    parts = [_rod((0, 0, -0.8), (0.11, 0.11, 0.2), BROWN)]
    for k, (z, scale) in enumerate(((-0.35, 1.0), (0.08, 0.78), (0.48, 0.55))):
        green = (0.10 + 0.03 * k, 0.42 + 0.05 * k, 0.16)
        parts += [_rod((0, 0, z), (w * scale, w * scale, 0.36), green, taper=0.05)]
    return parts


def ice_cream(r, c):
    w = r.uniform(0.38, 0.45)
    waffle = {"pattern": "diamonds", "second": (0.62, 0.42, 0.18)}
    return [
        _rod(
            (0, 0, -0.45), (w * 0.92, w * 0.92, 0.52), (0.87, 0.66, 0.36), (180, 0, 0), taper=0.04, **waffle
        ),
        _ball((0, 0, 0.22), (w, w, w * 0.95), c),
        _rod((0, 0, 0.08), (w * 1.03, w * 1.03, 0.06), c),
        _ball((0, 0, 0.62 + r.uniform(-0.02, 0.04)), 0.12, (0.78, 0.05, 0.12)),
    ]


def chair(r, c):
    w, h = r.uniform(0.38, 0.46), r.uniform(0.4, 0.5)
    parts = [_box((0, 0, -0.15), (w, w, 0.06), c), _box((-w + 0.05, 0, 0.3), (0.05, w, h), c)]
    legs = [(x * (w - 0.07), y * (w - 0.07)) for x in (-1, 1) for y in (-1, 1)]
    return parts + [_box((x, y, -0.55), (0.055, 0.055, 0.38), _dark(c, 0.7)) for x, y in legs]


def rocket(r, c):
    w = r.uniform(0.23, 0.28)
    parts = [
        _rod((0, 0, -0.1), (w, w, 0.52), (0.86, 0.87, 0.89)),
        _rod((0, 0, 0.66), (w, w, 0.25), c, taper=0.0),
    ]
    parts += [
        _rod((0, 0, -0.68), (w * 0.8, w * 0.8, 0.08), _dark(GRAY), taper=0.7),
        _rod((0, 0, 0.3), (w * 1.03, w * 1.03, 0.05), c),
    ]
    for k in range(4):
        angle = 45 + 90 * k
        x, y = np.cos(np.radians(angle)) * (w + 0.1), np.sin(np.radians(angle)) * (w + 0.1)
        parts += [
            _box((x, y, -0.5), (0.16, 0.03, 0.2), c, (0, 0, angle)),
            _box((x * 1.25, y * 1.25, -0.68), (0.1, 0.03, 0.14), c, (0, 0, angle)),
        ]
    return [
        *parts,
        _ball((w * 0.9, 0, 0.08), (0.06, 0.13, 0.13), SKY),
        _rod((w * 0.82, 0, 0.08), (0.17, 0.17, 0.06), _dark(GRAY), (0, 90, 0)),
    ]


def duck(r, c):
    yellow, wing = (0.97, 0.82, 0.18), (0.88, 0.70, 0.12)
    long = r.uniform(0.56, 0.64)
    parts = [_ball((-0.08, 0, -0.28), (long, 0.44, 0.38), yellow), _ball((0.32, 0, 0.32), 0.32, yellow)]
    parts += [
        _ball((0.66, 0, 0.27), (0.18, 0.15, 0.055), (0.95, 0.45, 0.08)),
        _rod((-0.66, 0, -0.08), (0.16, 0.2, 0.2), yellow, (0, -50, 0), taper=0.0),
    ]
    parts += [_ball((0.54, s * 0.2, 0.42), 0.055, DARK) for s in (-1, 1)]
    return parts + [_ball((-0.14, s * 0.4, -0.2), (0.32, 0.09, 0.2), wing, (0, 12, 0)) for s in (-1, 1)]


def lamp(r, c):
    h = r.uniform(0.5, 0.6)
    return [
        _rod((0, 0, -0.88), (0.36, 0.36, 0.06), DARK),
        _rod((0, 0, -0.35), (0.05, 0.05, h), GRAY),
        _rod((0, 0, 0.45), (r.uniform(0.5, 0.6), 0.55, 0.36), c, taper=0.55),
        _ball((0, 0, -0.72), (0.14, 0.14, 0.12), GRAY),
    ]


def mug(r, c):
    w, h = r.uniform(0.46, 0.54), r.uniform(0.5, 0.58)
    parts = [
        _rod((0, 0, 0), (w, w, h), c),
        _rod((0, 0, h - 0.02), (w * 0.86, w * 0.86, 0.035), (0.28, 0.16, 0.09)),
    ]
    for z, turn in ((0.25, 0), (-0.25, 0)):
        parts += [_rod((0, w + 0.12, z), (0.075, 0.075, 0.16), c, (90, 0, turn))]
    parts += [_rod((0, w + 0.27, 0), (0.075, 0.075, 0.28), c)] + [
        _ball((0, w + 0.27, s * 0.26), 0.08, c) for s in (-1, 1)
    ]
    band = WHITE if sum(c) < 2.6 else (0.2, 0.3, 0.75)
    return [
        *parts,
        _rod((0, 0, -h * 0.55), (w * 1.02, w * 1.02, 0.07), band),
        _ball((w, 0, 0.12), (0.05, 0.15, 0.15), band),
    ]


def carrot(r, c):
    w = r.uniform(0.3, 0.36)
    body = {"pattern": "rings", "second": (0.82, 0.38, 0.05)}
    return [
        _rod((0, 0, -0.3), (w, w, 0.65), ORANGE, (180, 0, 0), taper=0.08, **body),
        _ball((0, 0, 0.35), (w, w, 0.13), ORANGE),
        *_crown(r, (0, 0, 0.4), 6, 0.25, 35, (0.2, 0.62, 0.16), 0.08),
        *_crown(r, (0, 0, 0.4), 3, 0.32, 10, (0.2, 0.62, 0.16), 0.08),
    ]


def banana(r, c):
    yellow, bend = (0.97, 0.85, 0.22), r.uniform(95, 120)
    parts = []
    angles = np.linspace(-bend / 2, bend / 2, 13)
    for k, angle in enumerate(angles):
        a = np.radians(angle)
        w = 0.21 * (1 - 0.55 * abs(k - 6) ** 2 / 36)
        parts += [_ball((0, 1.05 * np.sin(a), 0.75 - 1.05 * np.cos(a)), (w, 0.2, w), yellow, (angle, 0, 0))]
    for angle, size in ((angles[0] - 7, 0.09), (angles[-1] + 8, 0.07)):
        a = np.radians(angle)
        parts += [
            _rod(
                (0, 1.05 * np.sin(a), 0.75 - 1.05 * np.cos(a)), (size, size, 0.12), BROWN, (angle + 90, 0, 0)
            )
        ]
    return parts


def cake(r, c):
    w = r.uniform(0.68, 0.76)
    icing, sponge = (0.97, 0.72, 0.80), (0.62, 0.38, 0.20)
    parts = [_rod((0, 0, -0.45), (w, w, 0.2), sponge), _rod((0, 0, -0.22), (w * 1.03, w * 1.03, 0.07), icing)]
    parts += [
        _rod((0, 0, 0.0), (w * 0.66, w * 0.66, 0.18), sponge),
        _rod((0, 0, 0.21), (w * 0.69, w * 0.69, 0.06), icing),
    ]
    parts += [_rod((0, 0, -0.68), (w * 1.2, w * 1.2, 0.03), (0.85, 0.88, 0.92))]
    for k in range(5):
        x, y = 0.32 * np.cos(2 * np.pi * k / 5), 0.32 * np.sin(2 * np.pi * k / 5)
        parts += [
            _rod((x, y, 0.42), (0.045, 0.045, 0.16), ((0.3, 0.5, 0.9), WHITE)[k % 2]),
            _ball((x, y, 0.64), (0.05, 0.05, 0.09), (1.0, 0.7, 0.15)),
        ]
    return parts


def robot(r, c):
    w = r.uniform(0.34, 0.4)
    parts = [_box((0, 0, -0.15), (0.25, w, 0.34), c), _box((0, 0, 0.46), (0.22, 0.28, 0.22), GRAY)]
    parts += [_ball((0.22, s * 0.12, 0.5), (0.05, 0.08, 0.08), (0.2, 0.85, 0.95)) for s in (-1, 1)]
    parts += [
        _box((0.22, 0, 0.32), (0.02, 0.15, 0.03), DARK),
        _box((0.25, 0, -0.08), (0.02, 0.17, 0.14), (0.9, 0.9, 0.7)),
    ]
    parts += [_rod((0, 0, 0.78), (0.03, 0.03, 0.12), GRAY), _ball((0, 0, 0.92), 0.07, (0.9, 0.15, 0.1))]
    for s in (-1, 1):
        parts += [
            _box((0, s * (w + 0.12), -0.1), (0.1, 0.09, 0.3), _dark(GRAY, 0.8)),
            _ball((0, s * (w + 0.12), -0.45), 0.12, c),
        ]
        parts += [
            _box((0, s * 0.18, -0.65), (0.12, 0.11, 0.2), _dark(GRAY, 0.8)),
            _box((0.06, s * 0.18, -0.88), (0.2, 0.14, 0.06), c),
        ]
    return parts


def flower(r, c):
    count, reach = int(r.integers(6, 9)), r.uniform(0.29, 0.33)
    head = affine((0, 0, 0.42), turn=(0, 62, 0))  # the blossom looks forward and up
    petals = []
    for k in range(count):
        angle = 360 * k / count
        x, y = reach * np.cos(np.radians(angle)), reach * np.sin(np.radians(angle))
        petals += [_ball((x, y, 0), (0.22, 0.14, 0.06), c, (0, 0, angle)).moved(head)]
    middle = _ball(
        (0, 0, 0.04),
        (0.17, 0.17, 0.1),
        (0.45, 0.28, 0.08) if c[2] < 0.3 and c[0] > 0.9 else (0.98, 0.8, 0.15),
    ).moved(head)
    parts = [
        _rod((-0.06, 0, -0.12), (0.045, 0.045, 0.55), LEAF),
        _rod((0, 0, -0.78), (0.24, 0.24, 0.2), (0.72, 0.36, 0.20), (180, 0, 0), taper=1.3),
    ]
    parts += [_ball((-0.04, s * 0.2, -0.25), (0.09, 0.22, 0.04), LEAF, (s * 30, 0, 0)) for s in (-1, 1)]
    return [*parts, *petals, middle]


def penguin(r, c):
    w = r.uniform(0.4, 0.46)
    black = (0.17, 0.20, 0.27)
    parts = [
        _ball((0, 0, -0.2), (w, w, 0.62), black),
        _ball((0.13, 0, -0.24), (w * 0.8, w * 0.78, 0.52), WHITE),
    ]
    parts += [_ball((0, 0, 0.5), 0.3, black), _ball((0.1, 0, 0.44), (0.23, 0.22, 0.2), WHITE)]
    parts += [_ball((0.27, s * 0.1, 0.55), 0.05, DARK) for s in (-1, 1)]
    parts += [_rod((0.42, 0, 0.44), (0.09, 0.06, 0.13), ORANGE, (0, 90, 0), taper=0.0)]
    parts += [_ball((0, s * (w + 0.03), -0.12), (0.16, 0.06, 0.36), black, (s * 16, 0, 0)) for s in (-1, 1)]
    return parts + [_ball((0.2, s * 0.18, -0.82), (0.22, 0.13, 0.07), ORANGE) for s in (-1, 1)]
