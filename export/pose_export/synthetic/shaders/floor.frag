#version 330
// Alpha is how much of the floor's light is missing: the sun's, and close to feet the sky's too.
uniform sampler2D depths;     // four samples per pixel
uniform sampler2DShadow shadow_map;
uniform float strength;
uniform float shadow_soft;
uniform vec4 contacts[32];   // x, z, radius, strength
uniform int count;
in vec3 sun_position;
in vec3 world;
out vec4 colour;
void main() {
    ivec2 at = 2 * ivec2(gl_FragCoord.xy);
    float seen = 0.0;
    for (int i = 0; i < 4; i++) seen += step(gl_FragCoord.z, texelFetch(depths, at + ivec2(i & 1, i >> 1), 0).x) * 0.25;
    if (seen == 0.0) discard;
    float open = 1.0;
    for (int i = 0; i < count; i++) {
        vec2 d = world.xz - contacts[i].xy;
        open *= 1.0 - contacts[i].w * exp(-dot(d, d) / (contacts[i].z * contacts[i].z));
    }
    float sum = 0.0;
    vec2 texel = shadow_soft / vec2(textureSize(shadow_map, 0));
    for (int i = 0; i < 4; i++) {
        vec2 tap = vec2(i < 2 ? 0.7 : -0.7, (i & 1) == 0 ? 0.3 : -0.3);
        sum += texture(shadow_map, vec3(sun_position.xy + texel * (i == 1 || i == 2 ? tap.yx : tap), sun_position.z - 0.003));
    }
    bool outside = any(lessThan(sun_position.xy, vec2(0.0))) || any(greaterThan(sun_position.xy, vec2(1.0)));
    float sunlit = outside ? 1.0 : sum / 4.0;
    colour = vec4(vec3(0.0), seen * (1.0 - open * (1.0 - strength * (1.0 - sunlit))));
}
