#version 330
// Each pixel is the mean of the 2x2 samples that it holds; depth and number are those of one of them.
uniform sampler2D samples, depths, codes;
uniform vec2 planes;         // near, far
layout(location = 0) out vec4 colour;
layout(location = 1) out vec4 known;     // metres, number

void main() {
    ivec2 at = 2 * ivec2(gl_FragCoord.xy);
    colour = 0.25 * (texelFetch(samples, at, 0) + texelFetch(samples, at + ivec2(1, 0), 0)
                   + texelFetch(samples, at + ivec2(0, 1), 0) + texelFetch(samples, at + ivec2(1, 1), 0));
    float depth = texelFetch(depths, at, 0).x;
    float metres = planes.x * planes.y / (planes.y - depth * (planes.y - planes.x));
    known = vec4(metres, 255.0 * texelFetch(codes, at, 0).x, 0.0, 0.0);
}
