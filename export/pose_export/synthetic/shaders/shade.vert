#version 330
// A rectangle of the picture, at the depth that stands for a number.
uniform vec4 box;            // left, bottom, right, top in clip space
uniform float number;        // 0 to 255
in vec2 corner;
void main() { gl_Position = vec4(mix(box.xy, box.zw, corner), number / 128.0 - 1.0, 1.0); }
