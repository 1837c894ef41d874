#version 330
// Linear blend skinning of one surface; bones are 3x4 matrices, a row each.

uniform mat4 clip;           // world to clip space
uniform vec4 bones[3 * 64];

in vec3 position;
in vec3 normal;
in vec2 uv;
in vec4 bone;
in vec4 weight;
in float region;
in float part;

out vec3 rest;
out vec3 world_normal;
out vec2 texture_uv;
out float bend;              // 0 inside one bone, towards 1 between two
flat out float region_code;
flat out float part_code;

void main() {
    vec4 rows[3] = vec4[3](vec4(0.0), vec4(0.0), vec4(0.0));
    vec4 share = weight / (weight.x + weight.y + weight.z + weight.w);  // rounded to bytes, their sum is not always 1
    float most = 0.0;
    for (int i = 0; i < 4; i++) {
        int first = 3 * int(255.0 * bone[i] + 0.5);
        for (int row = 0; row < 3; row++) rows[row] += share[i] * bones[first + row];
        most = max(most, share[i]);
    }
    bend = clamp(2.0 * (1.0 - most), 0.0, 1.0);
    vec4 p = vec4(position, 1.0);
    vec3 world = vec3(dot(rows[0], p), dot(rows[1], p), dot(rows[2], p));
    world_normal = normalize(vec3(dot(rows[0].xyz, normal), dot(rows[1].xyz, normal), dot(rows[2].xyz, normal)));
    rest = position;
    texture_uv = uv;
    region_code = region;
    part_code = part;
    gl_Position = clip * vec4(world, 1.0);
}
