#version 330
// The floor exists for its shadows.
uniform mat4 clip;
uniform mat4 sun_clip;
in vec3 position;
out vec3 sun_position;
out vec3 world;
void main() {
    world = position;
    sun_position = (sun_clip * vec4(position, 1.0)).xyz * 0.5 + 0.5;
    gl_Position = clip * vec4(position, 1.0);
}
