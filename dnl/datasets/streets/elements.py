"""What a street is lined with, each thing painted by one function of (canvas, rng, where it stands, …).

Positions and sizes are metres in the world of `painting`; `side` is −1 left of the road and +1 right of it.
"""

import math

import numpy as np

from dnl.datasets.streets.painting import BUILDING, FENCE, POLE, SIGN, TREE, WIDTH, Canvas, Colour, Point, pick

BRICKS = [(150, 92, 70), (172, 118, 84), (186, 150, 104), (126, 84, 70), (160, 132, 104), (112, 78, 66)]
PLASTERS = [(222, 214, 196), (206, 188, 158), (232, 228, 220), (190, 200, 204), (224, 198, 170), (176, 170, 160)]
CONCRETES = [(150, 148, 144), (124, 128, 134), (172, 166, 156)]
SHOP_COLOURS = [(28, 60, 110), (126, 26, 32), (24, 78, 56), (40, 40, 46), (196, 120, 36), (92, 40, 96), (30, 120, 132)]
DOOR_COLOURS = [(110, 24, 28), (24, 44, 84), (20, 66, 44), (50, 40, 36), (210, 206, 196)]
ROOFS = [(92, 74, 70), (82, 84, 92), (118, 74, 58)]
LEAVES = [(86, 112, 50), (66, 98, 48), (104, 122, 58), (74, 92, 42), (92, 104, 66)]
AUTUMN_LEAVES = [(168, 118, 46), (150, 88, 40), (142, 126, 56)]
GOODS = [(38, 42, 54), (96, 34, 38), (52, 70, 104), (150, 140, 122), (28, 28, 30), (196, 188, 176), (74, 92, 66)]
GOODS += [(190, 70, 50), (120, 100, 140), (210, 160, 60)]


# --- buildings -------------------------------------------------------------------------------------------------------


class _Wall:
    """An upright rectangle over the ground line start → end (x, z), turned to the camera."""

    def __init__(self, canvas: Canvas, start, end):
        self.canvas = canvas
        (x0, z0), (x1, z1) = start, end
        self.start, self.along = (x0, z0), (x1 - x0, z1 - z0)
        self.length = math.hypot(*self.along)
        normal_x, normal_z = (z0 - z1) / self.length, (x1 - x0) / self.length
        if normal_x * (x0 + x1) + normal_z * (z0 + z1) > 0:  # the camera stands at the origin
            normal_x, normal_z = -normal_x, -normal_z
        self.light = canvas.light.on(normal_x, normal_z)
        self.depth = max(1.0, float(z0 + z1) / 2)

    def tone(self, colour: Colour) -> tuple[int, int, int]:
        return self.canvas.tone(colour, self.depth, self.light)

    def quads(self, left, right, low, high) -> np.ndarray:
        """Rectangles on the wall, K×4×3: `left`, `right` in metres along it, `low`, `high` above the ground."""
        quads = np.empty((*np.broadcast(left, right, low, high).shape, 4, 3))
        across, up = np.empty(quads.shape[:-1]), quads[..., 1]
        across[..., 0] = across[..., 3] = left
        across[..., 1] = across[..., 2] = right
        up[..., 0] = up[..., 1] = low
        up[..., 2] = up[..., 3] = high
        quads[..., 0] = self.start[0] + across * (self.along[0] / self.length)
        quads[..., 2] = self.start[1] + across * (self.along[1] / self.length)
        return quads

    def paint(self, left, right, low, high, colour, label: int | None = None) -> None:
        """One colour (lit and hazed here) on one or many rectangles."""
        quads = self.quads(left, right, low, high).reshape(-1, 4, 3)
        self.canvas.faces(quads, [self.tone(colour)] * len(quads), label)


def _glass(rng: np.random.Generator, wall: _Wall, count: int) -> list[tuple[int, int, int]]:
    """Window colours: dark rooms, panes that mirror the sky, and at dusk lamps."""
    mirror = rng.uniform(0, 0.55, count)[:, None] * rng.uniform(0.3, 1)
    panes = np.array([40, 48, 58]) * (1 - mirror) + np.array(wall.canvas.light.sky_low) * mirror
    tones = [wall.tone(pane) for pane in panes]
    lit = rng.random(count) < wall.canvas.light.lit_windows
    return [(250, 206 - int(20 * m[0]), 120) if on else tone for tone, on, m in zip(tones, lit, mirror, strict=True)]


def _windows(rng: np.random.Generator, wall: _Wall, left, right, low, high, frame: Colour, bars: bool) -> None:
    """Panes in frames with sills; `bars` adds a glazing cross."""
    rim = 0.09
    if wall.depth < 36:
        wall.paint(left - rim, right + rim, low - rim, high + rim, frame)
    wall.canvas.faces(wall.quads(left, right, low, high), _glass(rng, wall, len(left)))
    if bars:
        middle, waist = (left + right) / 2, (low + high) / 2
        wall.paint(middle - 0.035, middle + 0.035, low, high, frame)
        wall.paint(left, right, waist - 0.035, waist + 0.035, frame)
    if wall.depth < 20:
        wall.paint(left - 0.15, right + 0.15, low - 0.24, low - rim, tuple(0.8 * c for c in frame))


def _shop(rng: np.random.Generator, wall: _Wall) -> None:
    """Ground floor as a shop: plinth, big panes, a door, a sign board, sometimes an awning."""
    colour = pick(rng, SHOP_COLOURS)
    wall.paint(0.15, wall.length - 0.15, 0, 3.5, colour)
    panes = max(2, int(wall.length / 2.3))
    left = 0.4 + np.arange(panes) * (wall.length - 0.8) / panes
    right = left + (wall.length - 0.8) / panes - 0.25
    low = np.full(panes, 0.6)
    low[rng.integers(panes)] = 0.08
    wall.canvas.faces(wall.quads(left, right, low, np.full(panes, 2.7)), _glass(rng, wall, panes))
    wall.paint(left + 0.2, left + 0.2 + 0.3 * (right - left), low + 0.3, low + 1.2, pick(rng, GOODS + PLASTERS))
    if wall.depth > 28:
        return
    letters = np.arange(wall.length * 0.28, wall.length * 0.72, 0.42)
    wall.paint(letters, letters + rng.uniform(0.16, 0.32, len(letters)), 2.98, 3.3, (236, 230, 210))
    if rng.random() < 0.3:
        stripes = np.arange(0.3, wall.length - 0.6, 0.5)
        wall.paint(stripes, stripes + 0.25, 2.35, 2.85, (236, 232, 224))
        wall.paint(stripes + 0.25, stripes + 0.5, 2.35, 2.85, pick(rng, SHOP_COLOURS))


def _facade(rng: np.random.Generator, wall: _Wall, height: float, kind: str, body: Colour) -> None:
    """Wall with floors of windows; kind is house, shop, office or plain."""
    canvas = wall.canvas
    canvas.face(wall.quads(0, wall.length, 0, height), wall.tone(body), BUILDING)
    across = np.ptp(canvas.camera.project(wall.quads(0, wall.length, 0, 0))[:, 0])
    if kind == "plain" or across < 12:
        return
    storey = rng.uniform(2.9, 3.5)
    ground_floor = 3.7 if kind == "shop" else 0.4
    floors = max(1, int((height - ground_floor - 0.3) / storey))
    if kind == "office":
        bays, fill = max(2, int(wall.length / 1.9)), 0.84
    else:
        bays, fill = max(2, int(wall.length / rng.uniform(2.3, 3.2))), rng.uniform(0.34, 0.46)
    bay = wall.length / bays
    column, floor = (grid.ravel() for grid in np.meshgrid(np.arange(bays), np.arange(floors)))
    left = (column + (1 - fill) / 2) * bay
    low = ground_floor + 0.75 + floor * storey
    tall = storey * (0.62 if kind == "office" else 0.54)
    frame = (60, 64, 70) if kind == "office" else pick(rng, [(228, 224, 214), (236, 236, 232), (96, 80, 66)])
    light_body = tuple(min(250.0, 1.18 * c + 10) for c in body)
    if wall.depth < 32 and rng.random() < 0.7:
        courses = ground_floor + storey * np.arange(1, floors + 1) - 0.05
        wall.paint(0, wall.length, courses, courses + 0.18, light_body)
    _windows(rng, wall, left, left + fill * bay, low, low + tall, frame, kind != "office" and wall.depth < 22)
    if kind == "shop":
        _shop(rng, wall)
    elif kind == "house":
        wall.paint(0, wall.length, 0, 0.45, tuple(0.7 * c for c in body))
        door = (rng.integers(bays) + 0.5) * bay
        wall.paint(door - 0.75, door + 0.75, 0, 3.0, frame)
        wall.paint(door - 0.5, door + 0.5, 0.1, 2.3, pick(rng, DOOR_COLOURS))
        wall.canvas.faces(wall.quads(np.array([door - 0.5]), door + 0.5, 2.4, 2.8), _glass(rng, wall, 1))
    if wall.depth < 45:
        wall.paint(0, wall.length, height - 0.35, height, light_body)
        wall.paint(0, wall.length, height - 0.5, height - 0.35, tuple(0.6 * c for c in body))


def building(canvas: Canvas, rng: np.random.Generator, start: Point, end: Point, deep: Point, height: float) -> None:
    """A house over the frontage start → end (x, z); `deep` (x, z) leads from the frontage to its back."""
    kind = rng.choice(["house", "shop", "office"], p=[0.46, 0.36, 0.18])
    body = pick(rng, CONCRETES if kind == "office" else BRICKS + PLASTERS, 10)
    start, end, deep = (np.array(v, float) for v in (start, end, deep))
    front = _Wall(canvas, start, end)
    if kind != "office":
        _roof(canvas, rng, start, end, deep, height)
    side = _Wall(canvas, start, start + deep)
    _facade(rng, side, height, rng.choice(["plain", "house"], p=[0.8, 0.2]) if side.depth < 35 else "plain", body)
    _facade(rng, front, height, kind, body)


def _roof(
    canvas: Canvas, rng: np.random.Generator, start: np.ndarray, end: np.ndarray, deep: np.ndarray, height: float
) -> None:
    """A pitched roof with a gable over the near side, and chimneys on its ridge."""
    half, pitch = deep / 2, rng.uniform(2.0, 3.4)
    colour = pick(rng, ROOFS)
    depth = max(1.0, float(start[1] + end[1]) / 2)
    for share in rng.uniform(0.05, 0.9, rng.integers(1, 3) if depth < 36 else 0):
        foot = start + half + share * (end - start)
        chimney = _Wall(canvas, foot - half * 0.1, foot + half * 0.14)
        chimney_light = canvas.tone(BRICKS[3], depth, chimney.light)
        quad = chimney.quads(0, chimney.length, height, height + pitch + 1.3)
        canvas.face(quad, chimney_light, BUILDING)
        canvas.face(quad + 0.05 * np.array([end[0] - start[0], 0, end[1] - start[1]]), chimney_light, BUILDING)

    def corner(point, up):
        return (point[0], height + up, point[1])

    ridge = [corner(end + half, pitch), corner(start + half, pitch)]
    slope = canvas.tone(colour, depth, canvas.light.on_ground)
    canvas.face([corner(start, 0), corner(end, 0), *ridge], slope, BUILDING)
    gable = canvas.tone(tuple(0.9 * c for c in colour), depth, canvas.light.on(0, -1))
    canvas.face([corner(start, 0), ridge[1], corner(start + deep, 0)], gable, BUILDING)


# --- plants and fences -----------------------------------------------------------------------------------------------


def crown(
    canvas: Canvas, rng: np.random.Generator, x: float, y: float, z: float, radii: tuple[float, float], leaf: Colour
) -> None:
    """A mass of leaves around (x, y, z), `radii` across and up: big lumps make its outline, small ones its light."""
    centre = canvas.camera.project((x, y, z))
    radius = np.array(radii) * canvas.camera.pixels_per_metre(z)
    if np.any(centre + radius < 0) or centre[0] - radius[0] > WIDTH:
        return
    count = int(np.clip(radius[0] / 2, 7, 26))
    turn = np.arange(count) * 2.4 + rng.uniform(0, 6)  # the golden angle spreads the lumps evenly
    reach = np.sqrt(np.arange(count) / count) * rng.uniform(0.62, 0.86, count)
    lumps = reach[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    spots = lumps[rng.integers(count, size=2 * count)] + rng.normal(0, 0.1, (2 * count, 2))
    clear = np.exp(-canvas.light.haze * z)
    ambient, sun, fog = (np.array(v) for v in (canvas.light.ambient, canvas.light.sun, canvas.light.sky_low))
    for place, size, label in [(lumps[::-1], 0.3, TREE), (spots[: 0 if radius[0] < 9 else None], 0.1, None)]:
        toward_light = 0.5 * place[:, 0] * canvas.light.toward_sun[0] - 0.75 * place[:, 1]
        brightness = 0.86 + 0.42 * toward_light + rng.normal(0, 0.05 if label else 0.13, len(place))
        bright = np.clip(brightness, 0.35, 1.4)[:, None]
        colours = np.array(leaf) * (0.5 + 0.5 * bright) * (0.8 * ambient + 0.75 * sun * bright)
        colours = np.minimum(colours * clear + fog * (1 - clear), 255).astype(int).tolist()
        sizes = radius * size * rng.uniform(0.75, 1.3, (len(place), 1))
        for spot, extent, colour in zip(centre + place * radius, sizes, colours, strict=True):
            canvas.ellipse(spot, extent, tuple(colour), label)


def tree(canvas: Canvas, rng: np.random.Generator, x: float, z: float, height: float, autumn: bool) -> None:
    """A trunk that forks and a leafy crown; sometimes slim like a poplar."""
    slim = rng.random() < 0.2
    spread = height * (0.2 if slim else rng.uniform(0.3, 0.42))
    trunk_top = height * (0.3 if slim else 0.5)
    bark = canvas.tone(pick(rng, [(86, 70, 56), (104, 92, 78), (70, 60, 54)]), z, canvas.light.on(0, -1))
    scale = canvas.camera.pixels_per_metre(z)
    width = max(0.035 * height, 3.0 / scale)
    fork = (x + rng.normal(0, 0.1), trunk_top * 0.75, z)
    canvas.limb(canvas.camera.project([(x, 0, z), fork]), width * scale, bark, TREE)
    for lean in (-0.45, 0.4):
        tip = (x + lean * spread, trunk_top + 0.25 * height, z)
        canvas.limb(canvas.camera.project([fork, tip]), 0.6 * width * scale, bark, TREE)
    leaf = pick(rng, AUTUMN_LEAVES if autumn else LEAVES)
    rise = (height - trunk_top * 0.8) / 2
    crown(canvas, rng, x, height - rise, z, (spread, rise), leaf)


def hedge(canvas: Canvas, rng: np.random.Generator, start: Point, end: Point, height: float) -> None:
    """A row of leafy lumps from start to end (x, z), painted far to near."""
    start, end = np.array(start, float), np.array(end, float)
    leaf = pick(rng, LEAVES)
    count = int(np.clip(np.hypot(*(end - start)) / 2.2, 3, 5))
    for share in np.linspace(1, 0, count):
        x, z = start + share * (end - start)
        if z > 2.5:
            crown(canvas, rng, x, height * 0.45, z, (2.0, height * 0.6), leaf)


def fence(canvas: Canvas, rng: np.random.Generator, start: Point, end: Point, kind: str) -> None:
    """A fence along start → end (x, z): boards, railings or a guard rail; what shows between bars belongs to it."""
    wall = _Wall(canvas, start, end)
    if kind == "boards":
        body, height = pick(rng, [(146, 112, 78), (120, 96, 76), (164, 134, 96)]), rng.uniform(1.5, 1.9)
        canvas.face(wall.quads(0, wall.length, 0, height), wall.tone(body), FENCE)
        gaps = np.arange(0.0, wall.length, 0.32)
        wall.paint(gaps, gaps + 0.06, 0, height, tuple(0.6 * c for c in body))
        posts = np.arange(0.0, wall.length, 2.2)
        wall.paint(posts, posts + 0.16, 0, height + 0.12, tuple(0.8 * c for c in body), FENCE)
        wall.paint(0, wall.length, height - 0.1, height + 0.02, tuple(min(250, 1.15 * c) for c in body), FENCE)
        return
    paint, height = ((44, 48, 50), 1.45) if kind == "railings" else ((178, 184, 186), 1.15)
    body = tuple(0.45 * c + 34 for c in paint)
    canvas.face(wall.quads(0, wall.length, 0, height), (*wall.tone(body), 190), FENCE)
    bars = np.arange(0.0, wall.length, 0.26)
    wall.paint(bars, bars + 0.07, 0.1, height, paint)
    for rail in (0.15, height - 0.09):
        wall.paint(0, wall.length, rail, rail + 0.09, paint, FENCE)
    posts = np.arange(0.0, wall.length, 2.4)
    wall.paint(posts, posts + 0.14, 0, height + 0.1, paint, FENCE)


# --- poles and signs -------------------------------------------------------------------------------------------------


def _pole(canvas: Canvas, x: float, z: float, height: float, width: float, colour: Colour) -> None:
    """An upright cylinder, lit on the sun's side."""
    scale = canvas.camera.pixels_per_metre(z)
    width = max(width * scale, 3.2)
    foot, top = canvas.camera.project([(x, 0, z), (x, height, z)])
    half = np.array([width / 2, 0])
    shade = canvas.light.on(0, -1)
    canvas.polygon(np.array([foot - half, foot + half, top + half, top - half]), canvas.tone(colour, z, shade), POLE)
    lit = np.sign(canvas.light.toward_sun[0]) * half
    bright = canvas.tone(tuple(min(250, 1.35 * c + 12) for c in colour), z, shade)
    canvas.polygon(np.array([foot + 0.3 * lit, foot + 0.9 * lit, top + 0.9 * lit, top + 0.3 * lit]), bright)


def lamp_post(canvas: Canvas, rng: np.random.Generator, x: float, z: float, side: int) -> None:
    """A street lamp whose arm reaches over the road."""
    height, scale = rng.uniform(6.0, 8.0), canvas.camera.pixels_per_metre(z)
    colour = pick(rng, [(122, 126, 128), (70, 84, 74), (52, 54, 58), (150, 150, 146)])
    _pole(canvas, x, z, height, 0.17, colour)
    _pole(canvas, x, z, 1.3, 0.26, colour)
    arm = canvas.camera.project([(x, height, z), (x - side * 0.5, height + 0.35, z), (x - side * 1.7, height + 0.4, z)])
    tone = canvas.tone(colour, z, canvas.light.on(0, -1))
    canvas.limb(arm, max(0.12 * scale, 2.6), tone, POLE)
    canvas.limb(arm[2] + np.array([[0, 0], [-side * 0.6 * scale, 0]]), max(0.2 * scale, 3.2), tone, POLE)
    if canvas.light.lit_windows > 0.1:
        canvas.limb(arm[2] + np.array([[-side * 0.1, 0.04], [-side * 0.5, 0.04]]) * scale, 0.1 * scale, (255, 226, 150))


def _disc(centre, radius: float, corners: int = 24, turn: float = 0.0) -> np.ndarray:
    """Corners×2 points on a circle in pixels."""
    angle = turn + np.arange(corners) * 2 * np.pi / corners
    return centre + radius * np.stack([np.sin(angle), -np.cos(angle)], axis=1)


def traffic_sign(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """A plate on a pole: speed limit, warning triangle, blue arrow, no entry or a direction board."""
    scale, light = canvas.camera.pixels_per_metre(z), canvas.light.on(0, -1)

    def tone(colour):
        return canvas.tone(colour, z, tuple(max(0.5, f) for f in light))  # plates are retro-reflective

    height = rng.uniform(2.3, 2.9)
    _pole(canvas, x, z, height + 0.3, 0.1, (128, 130, 132))
    centre, radius = canvas.camera.project((x, height, z)), max(0.46 * scale, 8.0)
    red, white, blue, black = tone((204, 30, 34)), tone((240, 240, 236)), tone((26, 84, 176)), tone((24, 24, 28))
    bar = np.array([[-1.0, -0.2], [1, -0.2], [1, 0.2], [-1, 0.2]]) * radius
    kind = rng.choice(["limit", "warning", "arrow", "no entry", "board"])
    if kind == "limit":
        canvas.polygon(_disc(centre, radius), red, SIGN)
        canvas.polygon(_disc(centre, 0.74 * radius), white)
        for column in (-0.28, 0.28):
            canvas.polygon(centre + (column * radius, 0) + bar[:, ::-1] * (0.7, 0.4), black)
    elif kind == "warning":
        canvas.polygon(_disc(centre, 1.2 * radius, 3), red, SIGN)
        canvas.polygon(_disc(centre, 0.76 * radius, 3), white)
        canvas.polygon(centre + bar[:, ::-1] * (0.4, 0.4), black)
    elif kind == "arrow":
        canvas.polygon(_disc(centre, radius), white, SIGN)
        canvas.polygon(_disc(centre, 0.92 * radius), blue)
        canvas.polygon(centre + bar[:, ::-1] * (0.6, 0.55), white)
        canvas.polygon(_disc(centre - (0, 0.38 * radius), 0.42 * radius, 3), white)
    elif kind == "no entry":
        canvas.polygon(_disc(centre, radius), red, SIGN)
        canvas.polygon(centre + bar * 0.7, white)
    else:
        colour = tone([(26, 84, 176), (28, 104, 66), (238, 238, 232), (226, 176, 40)][rng.integers(4)])
        plate = bar * (1.5, 4.6)
        canvas.polygon(centre + plate, white, SIGN)
        canvas.polygon(centre + plate * 0.93, colour)
        ink = black if sum(colour) > 380 else white
        for row, width in zip((-0.5, 0, 0.5), rng.uniform(0.5, 1.1, 3), strict=True):
            canvas.polygon(centre + (0, row * radius) + bar * (width, 0.5), ink)


def traffic_light(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """A signal head with three lamps, one or two of them on, on a dark pole."""
    scale, shade = canvas.camera.pixels_per_metre(z), canvas.light.on(0, -1)
    _pole(canvas, x, z, 2.6, 0.13, (66, 68, 72))
    centre, half = canvas.camera.project((x, 3.0, z)), max(0.27 * scale, 5.5)
    box = np.array([[-1, -2.4], [1, -2.4], [1, 2.4], [-1, 2.4]]) * half
    canvas.polygon(centre + box * (1.25, 1.1), canvas.tone((226, 226, 222), z, shade), SIGN)
    canvas.polygon(centre + box * (1.1, 1.04), canvas.tone((26, 28, 30), z, shade))
    on = [(0,), (2,), (0, 1)][rng.integers(3)]
    lamps = [((255, 60, 44), (74, 20, 20)), ((255, 186, 40), (80, 58, 18)), ((70, 240, 150), (16, 66, 44))]
    for place, (bright, dark) in enumerate(lamps):
        lamp = (centre[0], centre[1] + (place - 1) * 1.5 * half)
        canvas.ellipse(lamp, (0.66 * half, 0.66 * half), bright if place in on else dark)
        if place in on:
            canvas.ellipse(lamp, (0.3 * half, 0.3 * half), tuple((c + 255) // 2 for c in bright))
