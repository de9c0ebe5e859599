"""Streets: an endless, seeded set of painted and labelled street scenes in CamVid's eleven classes.

A scene is laid out in metres on the ground (`_Layout`), painted far to near in image and label map by the same shapes,
then textured and photographed. Scene (seed, index) is always the same picture, whatever was rendered before it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from dnl.classes import CAMVID
from dnl.datasets.base import Sample
from dnl.datasets.groups import Origin
from dnl.datasets.streets import elements, traffic
from dnl.datasets.streets.painting import (
    HEIGHT,
    PAVEMENT,
    ROAD,
    TREE,
    WIDTH,
    Canvas,
    Light,
    add_ground_texture,
    add_reflection,
    add_texture,
    paint_sky,
    random_camera,
    random_light,
    take_photo,
)

__all__ = ["HEIGHT", "SPLIT_SEEDS", "WIDTH", "Streets", "render_street"]

SPLIT_SEEDS = {"train": 0, "val": 1, "gallery": 2}  # one seed a split: no two splits ever share a scene
DEFAULT_LENGTHS = {"train": 2000, "val": 100, "gallery": 12}


@dataclass
class _Layout:
    """The plan of one street: where the ground changes, and what stands on it."""

    left: float  # road edges, metres
    right: float
    pavements: tuple[float, float]  # widths left and right, metres
    end: float  # metres to where the street ends
    junction: tuple[float, float] | None  # a crossing road from … to, metres ahead
    autumn: bool
    behind: list[tuple[float, Callable]] = field(default_factory=list)  # (metres ahead, painter) beyond the pavements
    within: list[tuple[float, Callable]] = field(default_factory=list)  # likewise on pavements and road
    shadows: list[np.ndarray] = field(default_factory=list)  # outlines on the ground, N×3 metres
    lawns: list[tuple[float, float, float, float]] = field(default_factory=list)  # x from, to, z from, to

    def add(self, depth: float, painter: Callable, *arguments) -> None:
        """Between the frontages: painter(canvas, rng, *arguments) paints over all that is farther than `depth`."""
        self.within.append((depth, lambda canvas, rng: painter(canvas, rng, *arguments)))

    def add_behind(self, depth: float, painter: Callable, *arguments) -> None:
        """Beyond the frontages, where nothing can hide what stands in the street."""
        self.behind.append((depth, lambda canvas, rng: painter(canvas, rng, *arguments)))

    def in_painting_order(self) -> list[Callable]:
        """Far to near, first what lies beyond the frontages, then what stands between them."""
        return [paint for jobs in (self.behind, self.within) for _, paint in sorted(jobs, key=lambda job: -job[0])]

    def edge(self, side: int) -> float:
        return self.left if side < 0 else self.right

    def frontage(self, side: int) -> float:
        return self.edge(side) + side * self.pavements[side > 0]

    def in_junction(self, z: float, margin: float = 0.0) -> bool:
        return self.junction is not None and self.junction[0] - margin < z < self.junction[1] + margin


def _plan(rng: np.random.Generator, light: Light) -> _Layout:
    """Lay a street out: its two sides, its end, its traffic and its people."""
    end = rng.uniform(50, 85)
    junction_start = rng.uniform(16, 34)
    layout = _Layout(
        left=-rng.uniform(2.2, 4.4),
        right=rng.uniform(4.6, 7.4),
        pavements=(rng.uniform(1.8, 3.6), rng.uniform(1.8, 3.6)),
        end=end,
        junction=(junction_start, junction_start + rng.uniform(7, 10)) if rng.random() < 0.35 else None,
        autumn=bool(rng.random() < 0.25),
    )
    _place_background(layout, rng)
    for side in (-1, 1):
        _place_lots(layout, rng, side, built=rng.choice([0.45, 0.75, 0.95]), light=light)
        _place_street_furniture(layout, rng, side, light)
        _place_people(layout, rng, side, light)
    _place_traffic(layout, rng, light)
    return layout


def _shadow_shift(light: Light, height: float) -> np.ndarray:
    """Where on the ground the shadow of a point `height` metres up falls, relative to its foot."""
    return -np.array([light.toward_sun[0], 0, light.toward_sun[1]]) * height * light.shadow_length


def _upright_shadow(light: Light, x: float, z: float, width: float, height: float) -> np.ndarray:
    """Shadow of something narrow and upright: a bar that leaves its foot."""
    foot, tip = np.array([x, 0, z]), np.array([x, 0, z]) + _shadow_shift(light, height)
    across = np.array([light.toward_sun[1], 0, -light.toward_sun[0]]) * width / 2
    return np.array([foot - across, foot + across, tip + across, tip - across])


def _round_shadow(light: Light, x: float, z: float, radius: float, height: float) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    wobble = 1 + 0.18 * np.sin(3 * turn) + 0.1 * np.cos(5 * turn)
    rim = np.stack([np.cos(turn) * wobble, 0 * turn, np.sin(turn) * wobble], axis=1) * radius
    return np.array([x, 0, z]) + _shadow_shift(light, height) + rim


def _place_background(layout: _Layout, rng: np.random.Generator) -> None:
    """Houses and trees across the end of the street."""
    x = -36.0
    while x < 36:
        width, height = rng.uniform(8, 16), rng.uniform(7, 14)
        z = layout.end + rng.uniform(2, 6)
        if rng.random() < 0.7:
            layout.add_behind(z + 1, elements.building, (x, z), (x + width, z), (0, 8), height)
        else:
            layout.add_behind(z, elements.tree, x + width / 2, z, height, layout.autumn)
            layout.add_behind(z + 9, elements.building, (x - 1, z + 9), (x + width + 1, z + 9), (0, 8), 7.0)
        x += width


def _place_lots(layout: _Layout, rng: np.random.Generator, side: int, built: float, light: Light) -> None:
    """Line one side with houses and gardens; `built` is the share of lots with a house."""
    z = rng.uniform(1.5, 4)
    style_height = rng.uniform(7, 13)
    while z < layout.end:
        length = rng.uniform(8, 16)
        far = min(z + length, layout.end)
        if layout.junction and far > layout.junction[0] - 1 and z < layout.junction[1] + 1:
            far = layout.junction[0] - 1
            if far - z < 4:
                z = layout.junction[1] + 1
                continue
        front = layout.frontage(side)
        if rng.random() < built:
            back = side * rng.uniform(8, 12)
            height = style_height * rng.uniform(0.8, 1.25)
            layout.add_behind((z + far) / 2, elements.building, (front, z), (front, far), (back, 0), height)
            shift = _shadow_shift(light, height)
            foot = np.array([(front, 0, z), (front, 0, far)])
            layout.shadows.append(np.concatenate([foot, foot[::-1] + shift]))
        else:
            _place_garden(layout, rng, side, z, far, light)
        z = far + (rng.uniform(0.5, 3) if rng.random() < 0.2 else 0)


def _place_garden(layout: _Layout, rng: np.random.Generator, side: int, near: float, far: float, light: Light) -> None:
    """A fence or hedge along the pavement, lawn and trees behind it."""
    front, middle = layout.frontage(side), (near + far) / 2
    layout.lawns.append((front, front + side * 30, near, far))
    for _ in range(rng.integers(1, 4)):
        x, z = front + side * rng.uniform(1.5, 7), rng.uniform(near, far)
        if z > 5:
            _place_tree(layout.add_behind, layout, rng, x, z, light)
    if rng.random() < 0.8:
        kind = rng.choice(["boards", "railings", "guard rail"], p=[0.55, 0.3, 0.15])
        layout.add_behind(middle - 0.5, elements.fence, (front, near), (front, far), kind)
    else:
        layout.add_behind(
            middle - 0.5, elements.hedge, (front + side, near), (front + side, far), rng.uniform(1.2, 2.2)
        )
    layout.add_behind(far + 12, elements.hedge, (front + side * 9, far), (front + side * 9, near), 3.0)


def _place_tree(add: Callable, layout: _Layout, rng: np.random.Generator, x: float, z: float, light: Light) -> None:
    """A tree with its shadow; `add` says whether in the street or behind."""
    height = rng.uniform(5.5, 10)
    add(z, elements.tree, x, z, height, layout.autumn)
    layout.shadows.append(_upright_shadow(light, x, z, 0.3, 0.6 * height))
    layout.shadows.append(_round_shadow(light, x, z, 0.3 * height, 0.65 * height))


def _place_street_furniture(layout: _Layout, rng: np.random.Generator, side: int, light: Light) -> None:
    """Lamp posts, signs, traffic lights, street trees and guard rails along one kerb."""
    kerb = layout.edge(side) + side * 0.45
    first = rng.uniform(7, 14)
    for z in np.arange(first, 30, rng.uniform(9, 14)):
        if not layout.in_junction(z):
            layout.add(z, elements.lamp_post, kerb, z, side)
            layout.shadows.append(_upright_shadow(light, kerb, z, 0.2, 7))
    if rng.random() < 0.75:
        z = rng.uniform(7, 17)
        if not layout.in_junction(z):
            layout.add(z, elements.traffic_sign, kerb, z)
            layout.shadows.append(_upright_shadow(light, kerb, z, 0.15, 2.5))
    if layout.junction or rng.random() < 0.2:
        z = max(8.0, layout.junction[0] - 1.5) if layout.junction else rng.uniform(9, 18)
        layout.add(z, elements.traffic_light, kerb + side * 0.2, z)
        layout.shadows.append(_upright_shadow(light, kerb, z, 0.2, 3.2))
    if rng.random() < 0.3:
        for z in np.arange(rng.uniform(8, 14), layout.end - 5, rng.uniform(8, 13)):
            if not layout.in_junction(z, 2):
                _place_tree(layout.add, layout, rng, kerb + side * 0.5, z, light)
    if rng.random() < 0.22:
        near = rng.uniform(5, 11)
        far = near + rng.uniform(5, 9)
        if not (layout.in_junction(near, 2) or layout.in_junction(far, 2)):
            rail = layout.edge(side) + side * 0.25
            layout.add((near + far) / 2, elements.fence, (rail, near), (rail, far), "guard rail")


def _place_people(layout: _Layout, rng: np.random.Generator, side: int, light: Light) -> None:
    """Walkers on one pavement, singly and in pairs; seldom somebody crossing the road."""
    for _ in range(rng.integers(1, 4)):
        z = rng.uniform(6.5, 21)
        x = layout.edge(side) + side * rng.uniform(0.8, layout.pavements[side > 0] - 0.4)
        for step in range(rng.choice([1, 1, 2])):
            place = (x + step * 0.65, z + step * 0.2)
            layout.add(place[1], traffic.pedestrian, *place)
            layout.shadows.append(_upright_shadow(light, *place, 0.5, 1.7))
    if rng.random() < 0.1:
        x, z = rng.uniform(layout.left, layout.right), rng.uniform(9, 16)
        layout.add(z, traffic.pedestrian, x, z)
        layout.shadows.append(_upright_shadow(light, x, z, 0.5, 1.7))


def _place_traffic(layout: _Layout, rng: np.random.Generator, light: Light) -> None:
    """Cars ahead, oncoming, parked and crossing; cyclists beside the kerb or crossing."""
    cars: list[tuple[float, float, float]] = []  # x, z, heading
    lane = (layout.left + layout.right) / 2
    parked_left, parked_right = layout.left + 1.0, layout.right - 1.0
    if rng.random() < 0.6:
        cars.append(((layout.left + lane) / 2 + rng.normal(0, 0.2), rng.uniform(9, 26), rng.normal(0, 0.03)))
    for z in rng.uniform(9, 45, rng.integers(0, 3)):
        x = (lane + layout.right) / 2 - 0.4 + rng.normal(0, 0.2)
        cars.append((x, z, np.pi + rng.normal(0, 0.04)))
    for x, free in ((parked_left, layout.left < -3.2), (parked_right, layout.right > 5.6)):
        if free and rng.random() < 0.55:
            z = rng.uniform(5.5, 12)
            for _ in range(rng.integers(1, 6)):
                cars.append((x, z, rng.choice([0, 0, np.pi]) + rng.normal(0, 0.02)))
                z += rng.uniform(5.3, 8)
    if layout.junction and rng.random() < 0.6:
        z = sum(layout.junction) / 2
        cars.append(
            (rng.uniform(layout.left, layout.right), z, rng.choice([-1, 1]) * (np.pi / 2 + rng.normal(0, 0.15)))
        )
    taken: list[tuple[float, float]] = []
    for x, z, heading in cars:
        if z > layout.end - 4 or any(abs(x - x0) < 2.6 and abs(z - z0) < 5.2 for x0, z0 in taken):
            continue
        taken.append((x, z))
        layout.add(z - 0.5, traffic.car, x, z, heading)
        half = np.array([0.95, 2.15]) if abs(np.cos(heading)) > 0.7 else np.array([2.15, 0.95])
        foot = np.array([x, 0, z]) + np.array([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]]) * np.insert(half, 1, 0)
        layout.shadows.append(foot)
        layout.shadows.append(foot + _shadow_shift(light, 1.2))
    for _ in range(rng.choice([0, 1, 1, 2])):
        z = rng.uniform(6, 15)
        sideways = bool(rng.random() < 0.3)
        toward = bool(rng.random() < 0.4)
        x = rng.uniform(-2.5, 4) if sideways else (layout.right - 0.8 if toward else layout.left + 0.7)
        if any(abs(x - x0) < 1.6 and abs(z - z0) < 3.2 for x0, z0 in taken):
            continue
        taken.append((x, z))
        layout.add(z, traffic.cyclist, x, z, sideways, toward)
        layout.shadows.append(_upright_shadow(light, x, z, 1.2 if sideways else 0.5, 1.7))


# --- the ground ------------------------------------------------------------------------------------------------------


def _strip(canvas: Canvas, left: float, right: float, near: float, far: float, colour, label: int | None) -> None:
    """Ground between x = left … right from z = near … far, in short pieces so that it follows the bend."""
    pieces = max(1, int(np.ceil(4 * np.log(far / near))))
    stops = np.geomspace(near, far, pieces + 1)
    ahead, back = stops, stops[::-1]
    outline = [(left, 0, z) for z in ahead] + [(right, 0, z) for z in back]
    canvas.face(outline, colour, label)


def _ground_quads(left, right, near, far) -> np.ndarray:
    """Rectangles on the ground, K×4×3 metres, from the four bounds (each a number or K numbers)."""
    left, right, near, far = np.broadcast_arrays(left, right, near, far)
    flat = np.zeros(left.shape)
    corners = [(left, flat, near), (right, flat, near), (right, flat, far), (left, flat, far)]
    return np.moveaxis(np.array(corners), -1, 0)


def _paint_ground(canvas: Canvas, rng: np.random.Generator, layout: _Layout) -> None:
    """Pavements with kerbs, the road, side road, lawns and all road markings."""
    light = canvas.light.on_ground
    damp = 1 - 0.25 * (canvas.light.wetness > 0)
    grey = rng.uniform(88, 118) * damp
    asphalt = (grey, grey, 1.03 * grey)
    slab = tuple(np.array([[172, 160, 146], [158, 156, 154], [166, 148, 136]][rng.integers(3)]) * damp)

    def tone(colour):
        return canvas.tone(colour, 0, light)

    groove = tone(tuple(0.82 * c for c in slab))
    near, far = 0.8, layout.end + 8
    _strip(canvas, -200, 200, near, far, tone(slab), PAVEMENT)
    for x0, x1, z0, z1 in layout.lawns:
        _strip(canvas, x0, x1, z0, z1, canvas.tone((92, 116, 58), z0, light), TREE)
    _strip(canvas, layout.left, layout.right, near, far, tone(asphalt), ROAD)
    for side in (-1, 1):
        edge = layout.edge(side)
        joints = np.arange(2.0, 26.0, 0.9)
        back = layout.frontage(side)
        canvas.faces(_ground_quads(edge, back, joints, joints + 0.04), [groove] * len(joints))
        for share in (0.36, 0.68):
            x = edge + share * (back - edge)
            _strip(canvas, x, x + 0.03, near, 26, groove, None)
        _strip(canvas, edge, edge + side * 0.1, near, far, tone(tuple(0.6 * c for c in slab)), PAVEMENT)
        _strip(canvas, edge + side * 0.1, edge + side * 0.28, near, far, tone((198, 194, 188)), PAVEMENT)
    if layout.junction:
        _strip(canvas, -80, 80, *layout.junction, tone(asphalt), ROAD)
    for _ in range(rng.integers(0, 4)):
        x, z, shade = rng.uniform(layout.left, layout.right - 1), rng.uniform(3, 14), rng.uniform(0.8, 1.12)
        far_edge, right = z + rng.uniform(0.6, 5), min(x + rng.uniform(0.6, 2), layout.right)
        _strip(canvas, x, right, z, far_edge, tone(tuple(shade * c for c in asphalt)), None)
    _paint_markings(canvas, rng, layout, tone((226, 226, 220)), tone((206, 176, 66)))


def _paint_markings(canvas: Canvas, rng: np.random.Generator, layout: _Layout, white, yellow) -> None:
    """Centre line, edge lines, stop line, zebra crossing and turn arrow; all belong to the road."""
    middle = (layout.left + layout.right) / 2
    dash, gap = [(2.0, 4.0), (4.0, 2.0), (1.0, 1.0)][rng.integers(3)]
    dashes = np.arange(1.0 + rng.uniform(0, 3), layout.end, dash + gap)
    dashes = np.array([z for z in dashes if not (layout.in_junction(z, 1) or layout.in_junction(z + dash, 1))])
    canvas.faces(_ground_quads(middle - 0.07, middle + 0.07, dashes, dashes + dash), [white] * len(dashes))
    if rng.random() < 0.65:
        stretches = [(0.8, layout.end)]
        if layout.junction:
            stretches = [(0.8, layout.junction[0]), (layout.junction[1], layout.end)]
        double, line = rng.random() < 0.6, yellow if rng.random() < 0.7 else white
        for side in (-1, 1):
            for inset in (0.3, 0.52)[: 1 + double]:
                x = layout.edge(side) - side * inset
                for near, far in stretches:
                    _strip(canvas, x - 0.05, x + 0.05, near, far, line, None)
    stop = layout.junction[0] - 2.5 if layout.junction else None
    if stop:
        _strip(canvas, layout.left + 0.3, middle, stop - 0.4, stop, white, None)
    if rng.random() < 0.25:
        z = stop - 5 if stop else rng.uniform(8, 15)
        bars = np.arange(layout.left + 0.4, layout.right - 0.6, 1.1)
        canvas.faces(_ground_quads(bars, bars + 0.55, z, z + 2.8), [white] * len(bars))
    elif rng.random() < 0.3:
        x, z = (layout.left + middle) / 2, rng.uniform(5.5, 9)
        _strip(canvas, x - 0.09, x + 0.09, z, z + 2.4, white, None)
        canvas.face([(x - 0.38, 0, z + 2.2), (x + 0.38, 0, z + 2.2), (x, 0, z + 3.6)], white)


def render_street(seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Scene (seed, index): image 360×480×3 uint8 RGB and labels 360×480 uint8, CamVid class indices."""
    rng = np.random.default_rng((seed, index))
    camera, light = random_camera(rng), random_light(rng)
    layout = _plan(rng, light)
    canvas = Canvas(paint_sky(rng, camera, light), camera, light)
    _paint_ground(canvas, rng, layout)
    canvas.shadows(layout.shadows)
    for paint in layout.in_painting_order():
        paint(canvas, rng)
    image, labels = canvas.finished()
    add_texture(rng, image, labels)
    add_ground_texture(rng, image, labels, camera, light)
    if light.wetness:
        image = add_reflection(image, labels, camera, light)
    return take_photo(rng, image), labels


class Streets:
    """Painted street scenes; `split` is train, val (the evaluation set) or gallery (the examples on show)."""

    label_set = CAMVID

    def __init__(self, split: str = "train", length: int | None = None):
        """length: number of scenes, by default 2000 (train), 100 (val) or 12 (gallery)."""
        if split not in SPLIT_SEEDS:
            raise ValueError(f"unknown split {split!r} of streets; known are {', '.join(SPLIT_SEEDS)}")
        length = DEFAULT_LENGTHS[split] if length is None else length
        if length < 0:
            raise ValueError(f"length is {length}; give a number of scenes, 0 or more")
        self.split, self.length = split, length

    def __len__(self) -> int:
        return self.length

    @property
    def origins(self) -> list[Origin]:
        """No group: every scene is drawn by itself."""
        return [Origin()] * self.length

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.length:
            raise IndexError(f"scene {index} of streets {self.split!r}, which has scenes 0 … {self.length - 1}")
        image, labels = render_street(SPLIT_SEEDS[self.split], index)
        return Sample(image, labels, f"street-{self.split}-{index:04d}")
