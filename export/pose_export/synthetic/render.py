"""Rasterising a scene with OpenGL: what the camera sees, who it belongs to, and how far away it is.

moderngl on whatever EGL finds: a GPU, or Mesa's software rasteriser.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.coarse import coarser, level_for
from pose_export.synthetic.light import Light
from pose_export.synthetic.looks import MATERIALS, Look, Material, parts_of
from pose_export.synthetic.surface import Surface
from pose_export.synthetic.view import View
from pose_runtime.errors import ExportError

Floats = NDArray[np.float32]

SHADOW_TEXELS = 1024
NOISE = 32
MAX_BONES = 64
MAX_CONTACTS = 32
_SHADOWLESS = ("eye", "brow", "lash", "teeth")
_NO, _YES = (False,) * 4, (True,) * 4
NEAR, FAR = 0.05, 80.0
_VERTEX = "3f 3f 2f 4f1 4f1 1f 1f"
# factors of the spherical harmonics in Light.ambient, which the shader leaves out
_SKY = np.array([0.282095, 0.488603, 0.488603, 0.488603, 1.092548, 1.092548, 0.315392, 1.092548, 0.546274], np.float32)


@dataclass(frozen=True, kw_only=True)
class Drawable:
    """A surface in the world.

    Attributes:
        surface: at rest.
        look: its colours.
        transforms: float32 (B, 3, 4), rest to world.
        owner: 1 to 254 for people, `THING` for everything else.
    """

    surface: Surface
    look: Look
    transforms: Floats
    owner: int


THING = 255


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """What the camera sees, top row first.

    Attributes:
        colour: float32 (H, W, 4), linear RGB times alpha, and alpha.
        owner: uint8 (H, W), 0 where nothing is.
        bone: uint8 (H, W), the bone that carries what is seen.
        depth: float32 (H, W), metres along the optical axis; inf where nothing is.
    """

    colour: Floats
    owner: NDArray[np.uint8]
    bone: NDArray[np.uint8]
    depth: Floats


@dataclass(frozen=True, kw_only=True)
class Floor:
    """Shadows on the plane y = 0.

    Attributes:
        strength: share of the floor's light that comes from the sun.
        contacts: float32 (n, 4): x, z, radius, darkness of what stands on it.
    """

    strength: float
    contacts: Floats


class Renderer:
    """Draws scenes of one picture size. Meshes stay on the device as long as their Surface lives.

    First the surfaces are sampled, four times per pixel, then every sample that is seen is shaded once: triangles are
    smaller than pixels, and shading is dear.
    """

    def __init__(self, size_wh: tuple[int, int]) -> None:
        self.size_wh = size_wh
        self._context = context = _context()
        folder = resources.files("pose_export.synthetic").joinpath("shaders")
        self._source = {name: folder.joinpath(name).read_text() for name in _SHADERS}
        self._sample = self._program("surface.vert", "surface.frag")
        self._shadow = self._program("surface.vert", "shadow.frag")
        self._floor = self._program("floor.vert", "floor.frag")
        self._mark = self._program("shade.vert", "mark.frag")
        self._resolve = self._program("shade.vert", "resolve.frag")
        self._square = context.buffer(np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32))
        ground = np.array([[-60, 0, -60], [60, 0, -60], [-60, 0, 60], [60, 0, 60]], np.float32)
        self._ground = context.vertex_array(self._floor, [(context.buffer(ground), "3f", "position")])
        self._whole = context.vertex_array(self._resolve, [(self._square, "2f", "corner")])
        self._noise = context.texture3d((NOISE, NOISE, NOISE), 4, _noise().tobytes())
        self._marking = context.vertex_array(self._mark, [(self._square, "2f", "corner")])
        self._shaders: dict[tuple[Material, int], tuple[Any, Any]] = {}
        self._meshes: weakref.WeakKeyDictionary[Surface, tuple[Any, Any, int]] = weakref.WeakKeyDictionary()
        self._make_targets()

    def _program(self, vertex: str, fragment: str, define: str = "") -> Any:
        version, _, rest = self._source[fragment].partition("\n")
        return self._context.program(vertex_shader=self._source[vertex], fragment_shader=f"{version}\n{define}\n{rest}")

    def _make_targets(self) -> None:
        context = self._context
        size = (2 * self.size_wh[0], 2 * self.size_wh[1])
        self._shadow_map = context.depth_texture((SHADOW_TEXELS, SHADOW_TEXELS))
        self._shadow_map.compare_func = "<="
        self._shadow_map.repeat_x = self._shadow_map.repeat_y = False
        self._shadow_target = context.framebuffer(depth_attachment=self._shadow_map)
        self._depth = context.depth_texture(size)
        self._depth.compare_func = ""
        self._layers = [context.texture(size, 4, dtype=kind) for kind in ("f4", "f2", "f4")]
        self._codes = context.texture(size, 2)
        self._samples = context.framebuffer([*self._layers, self._codes], self._depth)
        self._shaded = context.texture(size, 4, dtype="f2")
        for texture in (*self._layers, self._codes, self._depth, self._shaded):
            texture.filter = context.NEAREST, context.NEAREST
        self._shading = context.framebuffer([self._shaded], context.depth_renderbuffer(size))
        self._code_reader = context.framebuffer([self._codes])
        outputs = [context.renderbuffer(self.size_wh, 4, dtype=kind) for kind in ("f2", "f4")]
        self._result = context.framebuffer(outputs)
        self._final = context.framebuffer(outputs[:1])

    def close(self) -> None:
        """Release the device."""
        self._context.release()

    def render(self, view: View, drawables: list[Drawable], light: Light, floor: Floor | None) -> Rendering:
        """One picture; at most 255 drawables and parts of garments, in any order."""
        drawables = [near for item in drawables if (near := _far(item, view)) is not None]
        numbers = np.cumsum([1, *(self._mesh(item.surface)[2] for item in drawables)])
        if numbers[-1] > 256:
            raise ValueError(f"{numbers[-1] - 1} parts of surfaces, at most 255 fit")
        clip = clip_matrix(view)
        sun_clip = sun_matrix(light.direction, drawables)
        context = self._context
        context.enable_only(context.DEPTH_TEST)
        self._shadow_target.use()
        self._shadow_target.clear(depth=1.0)
        self._draw(self._shadow, drawables, numbers, sun_clip)
        self._samples.use()
        self._samples.color_mask = (_NO, _NO, _NO, _YES)  # only the numbers need to be cleared
        self._samples.clear(depth=1.0)
        self._samples.color_mask = (_YES, _YES, _YES, _YES)
        self._draw(self._sample, drawables, numbers, clip)
        codes = np.frombuffer(self._code_reader.read(components=2), np.uint8).reshape(self._codes.height, -1, 2)
        self._shade(view, _pieces(drawables, numbers), light, clip, sun_clip, codes[:, :, 0])
        self._to_pixels()
        if floor is not None:
            self._draw_floor(floor, light, clip, sun_clip)
        return self._read(_pieces(drawables, numbers))

    def _draw(self, program: Any, drawables: list[Drawable], numbers: NDArray[np.int64], clip: Floats) -> None:
        _set(program, clip=clip.T)
        for item, number in zip(drawables, numbers[:-1], strict=True):
            if program is self._shadow and item.surface.kind in _SHADOWLESS:
                continue
            _set(program, bones=np.ascontiguousarray(item.transforms[:MAX_BONES]), thickness=item.look.thickness)
            _set(program, number=float(number), cut=item.look.cut)
            in_shadow, sampled, _ = self._mesh(item.surface)
            (sampled if program is self._sample else in_shadow).render()

    def _shade(
        self,
        view: View,
        pieces: list[tuple[Drawable, int]],
        light: Light,
        clip: Floats,
        sun_clip: Floats,
        numbers: NDArray[np.uint8],
    ) -> None:
        self._shading.use()
        self._context.depth_func = "1"
        for unit, texture in enumerate((*self._layers, self._depth, self._shadow_map, self._noise, self._codes)):
            texture.use(unit)
        _set(self._mark, codes=6, box=(-1.0, -1.0, 1.0, 1.0), number=1.0)
        self._marking.render(self._context.TRIANGLE_STRIP)
        self._context.depth_func = "=="
        scene = {
            "unclip": np.linalg.inv(clip.astype(np.float64)).T,
            "sun_clip": sun_clip.T,
            "eye": (0.0, view.height, 0.0),
            "sun": light.direction,
            "sun_colour": light.colour,
            "sky": light.ambient * _SKY[:, None],
            "shadow_soft": _softness(light),
        }
        fresh = set()
        for number, box in _boxes(numbers):
            item, part = pieces[number - 1]
            key, paint = _paint(item.look, part)
            program, square = self._shader(*key)
            if key not in fresh:
                _set(program, **scene)
                fresh.add(key)
            _set(program, number=float(number), box=box, **paint)
            square.render(self._context.TRIANGLE_STRIP)
        self._context.depth_func = "<"

    def _shader(self, material: Material, kind: int) -> tuple[Any, Any]:
        """The program for a material and a fabric, and the rectangle that it paints; compiled when first needed."""
        made = self._shaders.get((material, kind))
        if made is None:
            define = f"#define MATERIAL {MATERIALS.index(material)}\n#define KIND {kind}"
            program = self._program("shade.vert", "shade.frag", define)
            for unit, name in enumerate(("places", "facings", "strands", "depths", "shadow_map", "noise_texture")):
                _set(program, **{name: unit})
            made = program, self._context.vertex_array(program, [(self._square, "2f", "corner")])
            self._shaders[material, kind] = made
        return made

    def _to_pixels(self) -> None:
        self._result.use()
        self._context.disable(self._context.DEPTH_TEST)
        for unit, texture in enumerate((self._shaded, self._depth, self._codes)):
            texture.use(unit)
        _set(self._resolve, samples=0, depths=1, codes=2, planes=(NEAR, FAR), box=(-1.0, -1.0, 1.0, 1.0), number=0.0)
        self._whole.render(self._context.TRIANGLE_STRIP)

    def _draw_floor(self, floor: Floor, light: Light, clip: Floats, sun_clip: Floats) -> None:
        context = self._context
        self._final.use()
        context.enable(context.BLEND)
        self._depth.use(5)
        context.blend_func = context.ONE, context.ONE_MINUS_SRC_ALPHA
        count = min(len(floor.contacts), MAX_CONTACTS)
        _set(self._floor, clip=clip.T, sun_clip=sun_clip.T, contacts=floor.contacts[:count], count=count)
        _set(self._floor, shadow_map=4, depths=5, strength=floor.strength, shadow_soft=_softness(light))
        self._ground.render(context.TRIANGLE_STRIP)
        context.disable(context.BLEND)

    def _read(self, pieces: list[tuple[Drawable, int]]) -> Rendering:
        width, height = self.size_wh
        colour = np.frombuffer(self._result.read(components=4, dtype="f2"), np.float16).reshape(height, width, 4)
        known = np.frombuffer(self._result.read(components=4, attachment=1, dtype="f4"), np.float32)
        known = np.flipud(known.reshape(height, width, 4))
        number = np.round(known[:, :, 1]).astype(np.uint8)
        owners = np.array([0, *(item.owner for item, _ in pieces)], np.uint8)
        return Rendering(
            colour=np.flipud(colour).astype(np.float32),
            owner=owners[number],
            bone=np.round(known[:, :, 2]).astype(np.uint8),
            depth=np.where(number > 0, known[:, :, 0], np.inf).astype(np.float32),
        )

    def _mesh(self, surface: Surface) -> tuple[Any, Any, int]:
        """Vertex arrays for the shadow and for sampling, and the number of parts."""
        made = self._meshes.get(surface)
        if made is None:
            context = self._context
            rows = _interleave(surface)
            vertices = context.buffer(rows.tobytes())
            indices = context.buffer(surface.triangles.astype(np.uint32).tobytes())
            names = ("position", "normal", "uv", "bone", "weight", "region", "part")
            arrays = [
                context.vertex_array(program, [(vertices, *_used(program, names))], indices)
                for program in (self._shadow, self._sample)
            ]
            made = arrays[0], arrays[1], int(rows["q"].max()) + 1
            self._meshes[surface] = made
            weakref.finalize(surface, _release, [*arrays, vertices, indices])
        return made


_SHADERS = (
    "surface.vert", "surface.frag", "shadow.frag", "shade.vert", "mark.frag", "shade.frag", "resolve.frag",
    "floor.vert", "floor.frag",
)  # fmt: skip


def _context() -> Any:
    try:
        import moderngl
    except ImportError as error:
        raise ExportError("moderngl is missing; pip install 'jetpose[export]'") from error
    try:
        create: Any = moderngl.create_context  # its annotations are wrong
        return create(standalone=True, backend="egl")
    except Exception as error:  # moderngl raises plain Exception
        raise ExportError(f"no OpenGL through EGL: {error}; on Debian: apt install libegl1 libgl1-mesa-dri") from error


def _noise() -> NDArray[np.uint8]:
    """Four independent values per cell; the device interpolates between them."""
    return np.random.default_rng(7).integers(0, 256, (NOISE, NOISE, NOISE, 4), np.uint8)


def _release(parts: list[Any]) -> None:
    for part in parts:
        part.release()


def _interleave(surface: Surface) -> NDArray[np.void]:
    kind = [
        ("p", "<f4", 3),
        ("n", "<f4", 3),
        ("t", "<f4", 2),
        ("b", "u1", 4),
        ("w", "u1", 4),
        ("r", "<f4"),
        ("q", "<f4"),
    ]
    rows = np.zeros(len(surface.positions), kind)
    rows["p"], rows["n"], rows["t"] = surface.positions, surface.normals, surface.uv
    rows["b"], rows["w"] = surface.bones, np.round(255 * surface.weights)
    rows["r"], rows["q"] = surface.region, parts_of(surface)
    return rows


def _used(program: Any, names: tuple[str, ...]) -> tuple[str, ...]:
    """Format and attribute names, with padding where the program has no such attribute."""
    sizes = {"3f": 12, "2f": 8, "4f1": 4, "1f": 4}
    formats, kept = [], []
    for part, name in zip(_VERTEX.split(), names, strict=True):
        if name in program:
            formats.append(part)
            kept.append(name)
        else:
            formats.append(f"{sizes[part]}x")
    return (" ".join(formats), *kept)


def _softness(light: Light) -> float:
    """Texels over which the edge of a shadow is spread."""
    return 1.0 + 9.0 * (1.0 - light.hardness)


def _paint(look: Look, part: int) -> tuple[tuple[Material, int], dict[str, Any]]:
    """Which program paints a part of a surface, and its uniforms."""
    row = min(part, 2) if look.material == "cloth" else 0
    pattern = look.pattern[row]
    woven = look.material in ("cloth", "shoe")
    paint = {
        "colours": np.roll(look.colours, -3 * row, axis=0),
        "pattern": pattern,
        "detail": np.array([look.seed, look.folds, look.gloss, look.cut], np.float32),
        "centre": look.centre,
    }
    return (look.material, int(pattern[0]) if woven else 0), paint


def _far(item: Drawable, view: View) -> Drawable | None:
    """The drawable with as many triangles as its distance deserves; None for lashes and teeth that can't be seen."""
    middle = item.transforms[0, :, :3] @ item.surface.positions[0] + item.transforms[0, :, 3]
    metres = max(float((middle - (0, view.height, 0)) @ view.axes()[2]) - 0.6, NEAR)
    level = level_for(metres / view.focal_px)
    if item.surface.kind in ("lash", "teeth") and level > 0:
        return None
    return replace(item, surface=_coarse(item.surface, level))


def _coarse(surface: Surface, level: int) -> Surface:
    made = _LEVELS.setdefault(surface, {})
    if level not in made:
        coarse = coarser(surface, level)
        if coarse is surface:  # kept here, it would keep itself alive
            return surface
        made[level] = coarse
    return made[level]


_LEVELS: weakref.WeakKeyDictionary[Surface, dict[int, Surface]] = weakref.WeakKeyDictionary()


def _pieces(drawables: list[Drawable], numbers: NDArray[np.int64]) -> list[tuple[Drawable, int]]:
    """What the numbers from 1 stand for: a drawable and a part of it."""
    return [(item, part) for item, n in zip(drawables, np.diff(numbers), strict=True) for part in range(n)]


def _boxes(numbers: NDArray[np.uint8]) -> list[tuple[int, tuple[float, float, float, float]]]:
    """For every number in the picture (rows from the bottom): the rectangle in clip space that holds its samples."""
    height, width = numbers.shape
    coarse = numbers[::2, ::2]
    found = []
    for number in np.flatnonzero(np.bincount(coarse.ravel(), minlength=256)[1:]) + 1:
        here = coarse == number
        x, y = np.flatnonzero(here.any(0)), np.flatnonzero(here.any(1))
        left, right = (2 * x[0] - 4) / width, (2 * x[-1] + 6) / width
        low, high = (2 * y[0] - 4) / height, (2 * y[-1] + 6) / height
        found.append((int(number), (2 * left - 1, 2 * low - 1, 2 * right - 1, 2 * high - 1)))
    return found


def clip_matrix(view: View) -> Floats:
    """World to OpenGL's clip space, (4, 4)."""
    width, height = view.size_wh
    right, up, forward = view.axes()
    matrix = np.zeros((4, 4))
    matrix[0, :3] = 2 * view.focal_px / width * right
    matrix[1, :3] = 2 * view.focal_px / height * up
    matrix[2, :3] = (FAR + NEAR) / (FAR - NEAR) * forward
    matrix[3, :3] = forward
    matrix[2, 3] = -2 * FAR * NEAR / (FAR - NEAR)
    move = np.eye(4)
    move[1, 3] = -view.height
    clip: Floats = (matrix @ move).astype(np.float32)
    return clip


def _set(program: Any, **values: Any) -> None:
    """Uniforms by name; those that the compiler removed are left out."""
    for name, value in values.items():
        if name not in program:
            continue
        if isinstance(value, np.ndarray):
            program[name].write(_fitted(program[name], value).tobytes())
        else:
            program[name].value = value


def _fitted(uniform: Any, value: Floats) -> Floats:
    """As many numbers as the uniform has: the compiler shortens arrays whose end is not read."""
    flat = np.asarray(value, np.float32).reshape(-1)
    wanted = uniform.array_length * uniform.dimension
    return np.ascontiguousarray(flat[:wanted] if flat.size >= wanted else np.pad(flat, (0, wanted - flat.size)))


def sun_matrix(sun: Floats, drawables: list[Drawable]) -> Floats:
    """World to the shadow map's clip space, (4, 4): parallel light, just around everybody."""
    if not drawables:
        return np.eye(4, dtype=np.float32)
    spots = np.concatenate([item.transforms[:, :, 3] + item.transforms[:, :, :3] @ _middle(item) for item in drawables])
    centre = (spots.min(0) + spots.max(0)) / 2
    radius = min(float(np.linalg.norm(spots - centre, axis=1).max()) + 1.2, 12.0)
    forward = -sun / np.linalg.norm(sun)
    right = np.cross(forward, [0.0, 1.0, 0.0] if abs(forward[1]) < 0.99 else [1.0, 0.0, 0.0])
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(right, forward), forward])
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3, :3] = axes / radius
    matrix[:3, 3] = -axes @ centre / radius
    return matrix


def _middle(item: Drawable) -> Floats:
    return np.asarray(item.surface.positions.mean(0))
