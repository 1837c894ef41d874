#version 330
// All that shading needs to know of the nearest surface: where on it, which way it faces, and whose it is.

uniform float number;        // of its first part, 1 to 255
uniform float cut;           // share of hair strips that are gaps
in vec3 rest;
in vec3 world_normal;
in vec2 texture_uv;
in float bend;
flat in float region_code;
flat in float part_code;
layout(location = 0) out vec4 place;     // position at rest, region
layout(location = 1) out vec4 facing;    // normal, bend
layout(location = 2) out vec4 strand;    // uv
layout(location = 3) out float code;     // number

void main() {
    if (cut > 0.0 && fract(sin(floor(texture_uv.x * 180.0) * 12.9898) * 43758.5453) < cut) discard;
    place = vec4(rest, region_code);
    facing = vec4(gl_FrontFacing ? world_normal : -world_normal, bend);
    strand = vec4(texture_uv, 0.0, 0.0);
    code = (number + part_code) / 255.0;
}
