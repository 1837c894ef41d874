#version 330
// Puts the number of what is seen into the depth buffer: shading then skips all other samples before it begins.
uniform sampler2D codes;
out vec4 colour;
void main() {
    float number = floor(255.0 * texelFetch(codes, ivec2(gl_FragCoord.xy), 0).x + 0.5);
    gl_FragDepth = number / 256.0;  // exactly the depth of shade.vert
    colour = vec4(0.0);
}
