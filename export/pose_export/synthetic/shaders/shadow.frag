#version 330
// The shadow map holds depth alone.
void main() {}
