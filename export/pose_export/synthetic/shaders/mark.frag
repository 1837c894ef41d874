#version 330
// Puts the number of what is seen into the depth buffer: shading then skips all other samples before it begins.
uniform sampler2D codes;
out vec4 colour;
void main() {
    gl_FragDepth = 255.0 / 256.0 * texelFetch(codes, ivec2(gl_FragCoord.xy), 0).x;
    colour = vec4(0.0);
}
