#version 330
#define SKIN 0
#define EYE 1
#define HAIR 2
#define CLOTH 3
#define SHOE 4
#define PLAIN 5
// MATERIAL and KIND are defined when this is compiled: one small program each is much faster than one with branches.
// Skin, eyes, hair, fabrics and things, lit by one sun with shadow and a sky in spherical harmonics.

uniform sampler2D places, facings, strands, depths;
uniform mat4 unclip;         // clip space to world
uniform mat4 sun_clip;       // world to the shadow map
uniform vec3 colours[8];     // linear; what they mean depends on the material
uniform vec4 pattern;        // kind, size in metres, angle, contrast
uniform vec4 detail;         // seed, fold strength, gloss, cut
uniform vec3 centre;         // of the eye, or of the face, at rest
uniform vec3 eye;            // of the camera
uniform vec3 sun;            // towards the sun, length 1
uniform vec3 sun_colour;
uniform vec3 sky[9];         // spherical harmonics of the light received, over pi
uniform sampler2DShadow shadow_map;
uniform sampler3D noise_texture;
uniform float shadow_soft;   // texels
out vec4 colour;

vec4 noises(vec3 p) { return texture(noise_texture, p / 32.0); }   // four at once, 0 to 1, a cell per unit

float noise(vec3 p) { return noises(p).x; }

float fbm(vec3 p) { return 0.5 * noise(p) + 0.3 * noise(2.1 * p + 7.0) + 0.2 * noise(4.3 * p + 13.0); }

vec3 irradiance(vec3 n) {
    vec3 e = sky[0] + sky[1] * n.y + sky[2] * n.z + sky[3] * n.x + sky[4] * (n.x * n.y) + sky[5] * (n.y * n.z)
           + sky[6] * (3.0 * n.z * n.z - 1.0) + sky[7] * (n.x * n.z) + sky[8] * (n.x * n.x - n.y * n.y);
    return max(e, vec3(0.015));
}

float lit(vec3 sun_position, vec3 n) {
    if (sun_position.x < 0.0 || sun_position.x > 1.0 || sun_position.y < 0.0 || sun_position.y > 1.0) return 1.0;
    vec2 texel = shadow_soft / vec2(textureSize(shadow_map, 0));
    float bias = 0.004 + 0.006 * (1.0 - max(dot(n, sun), 0.0));
    float sum = 0.0;
    sum += texture(shadow_map, vec3(sun_position.xy + texel * vec2(-0.9, -0.4), sun_position.z - bias));
    sum += texture(shadow_map, vec3(sun_position.xy + texel * vec2(0.4, -0.9), sun_position.z - bias));
    sum += texture(shadow_map, vec3(sun_position.xy + texel * vec2(0.9, 0.4), sun_position.z - bias));
    sum += texture(shadow_map, vec3(sun_position.xy + texel * vec2(-0.4, 0.9), sun_position.z - bias));
    return sum * 0.25;
}

float band(float x, float width) { return smoothstep(-0.04, 0.04, abs(fract(x) - 0.5) - 0.5 * (1.0 - width)); }

// Weave of a fabric: base colour, second colour, third for accents; KIND is its place in looks.FABRICS.
vec3 fabric(vec3 a, vec3 b, vec3 c, vec4 how, vec3 p) {
    float s = sin(how.z), k = cos(how.z);
    // around the body rather than through it: stripes run round legs, arms and chest alike
    float across = atan(p.x - 0.18 * sign(p.x) * step(p.y, -0.05), p.z) * 0.16;
    vec2 q = vec2(k * across + s * p.y, -s * across + k * p.y) / how.y;
    vec3 third = mix(a, c, how.w);
    b = mix(a, b, how.w);
#if KIND == 1
    return mix(a, b, band(q.y, 0.5));  // stripes
#endif
#if KIND == 2
    return mix(mix(a, b, 0.55 * band(q.y, 0.5)), b, 0.55 * band(q.x, 0.5));  // checks
#endif
#if KIND == 3  // tartan
    vec3 t = mix(a, b, 0.6 * band(q.y, 0.4));
    t = mix(t, b, 0.6 * band(q.x, 0.4));
    return mix(t, third, 0.5 * max(band(q.x * 2.0 + 0.3, 0.12), band(q.y * 2.0 + 0.3, 0.12)));
#endif
#if KIND == 4  // dots
    vec2 cell = fract(q + vec2(0.5 * floor(q.y), 0.0)) - 0.5;
    return mix(b, a, smoothstep(0.24, 0.3, length(cell)));
#endif
#if KIND == 5  // print, flowers
    float f = fbm(p / how.y * 1.4 + detail.x), g = fbm(p / how.y * 1.9 + detail.x + 31.0);
    return mix(mix(a, b, smoothstep(0.5, 0.54, f)), third, smoothstep(0.56, 0.6, g));
#endif
#if KIND == 6  // camouflage
    float f = fbm(p / how.y + detail.x), g = fbm(p / how.y + detail.x + 17.0);
    return mix(mix(a, b, step(0.5, f)), third, step(0.53, g));
#endif
#if KIND == 7  // denim
    float worn = fbm(p * vec3(9.0, 5.0, 9.0) + detail.x);
    float weave = noise(p * vec3(900.0, 300.0, 900.0));
    return mix(a, b, clamp(0.5 * smoothstep(0.45, 0.8, worn) + 0.25 * weave, 0.0, 1.0));
#endif
#if KIND == 8  // emblem on the chest
    vec2 d = vec2(p.x + 0.25 * (how.z - 1.5) * 0.1, p.y - 0.37 - 0.03 * sin(how.z * 9.0)) / how.y;
    float shape = how.z < 1.0 ? length(d) : (how.z < 2.0 ? max(abs(d.x), abs(d.y) * 1.6) : max(abs(d.x) * 0.5, abs(d.y) * 2.2));
    float ink = step(0.42, fbm(vec3(d * 4.0, detail.x)));
    return p.z > 0.02 ? mix(a, mix(b, third, ink), 1.0 - smoothstep(0.95, 1.0, shape)) : a;
#endif
#if KIND == 9
    return mix(a, b, smoothstep(-0.5, 0.5, p.y / how.y * 0.2 - 0.1));  // gradient
#endif
#if KIND == 10  // blocks of colour
    vec3 t = abs(p.x) > 0.16 + 0.05 * how.z ? b : a;
    return p.y > 0.36 + 0.05 * sin(how.z) ? third : t;
#endif
#if KIND == 11  // melange, knit
    float w = noise(p * 420.0 + detail.x);
    return mix(a, b, 0.5 * w * (0.6 + 0.4 * sin(p.y * 900.0)));
#endif
#if KIND == 0
    return a;
#endif
}

void main() {
    ivec2 at = ivec2(gl_FragCoord.xy);
    vec4 first = texelFetch(places, at, 0), second = texelFetch(facings, at, 0);
    vec3 rest = first.xyz;
    vec4 third = texelFetch(strands, at, 0);
    vec2 texture_uv = third.xy;
    float region_code = first.w, bend = second.w;
    vec3 n = normalize(second.xyz);
    vec3 smooth_n = n;
    vec2 on_screen = gl_FragCoord.xy / vec2(textureSize(places, 0)) * 2.0 - 1.0;
    vec4 unprojected = unclip * vec4(on_screen, 2.0 * texelFetch(depths, at, 0).x - 1.0, 1.0);
    vec3 world = unprojected.xyz / unprojected.w;
    vec3 sun_position = (sun_clip * vec4(world, 1.0)).xyz * 0.5 + 0.5;
    vec3 view = normalize(eye - world);
    vec3 albedo = colours[0];
    float gloss = detail.z, shine = 24.0, wrap = 0.0;

#if MATERIAL == SKIN
    float mottled = fbm(rest * 60.0 + detail.x) - 0.5, wide = fbm(rest * 9.0 + detail.x) - 0.5;
    albedo *= 1.0 + 0.10 * mottled + 0.16 * wide;
    int where = int(region_code + 0.5);
    vec3 d = rest - centre;
    float face = (where == 1 || where == 2 || where == 6) ? 1.0 : 0.0;
    float cheek = face * exp(-dot(vec2(abs(d.x) - 0.042, d.y + 0.030), vec2(abs(d.x) - 0.042, d.y + 0.030)) / 0.0006);
    float nose = face * exp(-(d.x * d.x + (d.y + 0.028) * (d.y + 0.028)) / 0.00025);
    albedo = mix(albedo, colours[1], 0.30 * cheek + 0.22 * nose + (where == 3 ? 0.25 : 0.0));
    if (where == 2) albedo = mix(albedo, colours[2], 0.75);
    if (where == 4) albedo = mix(albedo, vec3(0.75, 0.55, 0.5), 0.35);
    if (where == 5) albedo = vec3(0.12, 0.03, 0.03);
    float socket = face * exp(-dot(vec2(abs(d.x) - 0.032, d.y - 0.004), vec2(abs(d.x) - 0.032, d.y - 0.004)) / 0.00022);
    albedo *= 1.0 - 0.28 * socket;
    float stubble = face * smoothstep(-0.035, -0.055, d.y) * (where == 2 ? 0.0 : 1.0);
    stubble *= 0.7 + 0.6 * noise(rest * 500.0);
    albedo = mix(albedo, colours[3], clamp(colours[4].x * stubble, 0.0, 0.95));
    float brow = face * smoothstep(0.009, 0.004, abs(d.y - 0.024 + 0.10 * abs(abs(d.x) - 0.03)))
               * smoothstep(0.008, 0.014, abs(d.x)) * smoothstep(0.058, 0.046, abs(d.x));
    albedo = mix(albedo, colours[3], colours[4].z * brow);
    if (where == 7) albedo = mix(albedo, colours[3], colours[4].y * (0.75 + 0.5 * (noise(rest * 400.0) - 0.5)));
    wrap = 0.25;
    shine = 18.0;
#elif MATERIAL == EYE
    float r = length(vec2(abs(rest.x) - centre.x, rest.y - centre.y)) / centre.z;
    albedo = rest.z < 0.0 ? albedo : mix(colours[1], albedo, smoothstep(0.44, 0.5, r));
    albedo = mix(vec3(0.004), albedo, smoothstep(0.18, 0.22, r));
    gloss = 0.6; shine = 90.0;
#elif MATERIAL == HAIR
    float strand = noise(vec3(texture_uv.x * 260.0, texture_uv.y * 9.0, detail.x));
    float lock = noise(vec3(rest.x * 70.0, rest.y * 12.0, rest.z * 70.0) + detail.x);
    albedo = mix(albedo, colours[1], 0.55 * strand + 0.35 * lock);
    albedo *= 0.65 + 0.5 * lock;
    n = normalize(n + 0.5 * (vec3(strand, lock, noise(rest * 150.0)) - 0.5));
    shine = 14.0;
#elif MATERIAL == CLOTH
    albedo = fabric(colours[0], colours[1], colours[2], pattern, rest);
    float hang = detail.y;
    vec3 p = rest + 0.05 * (fbm(rest * 6.0 + detail.x) - 0.5);
    vec3 long_folds = noises(p * vec3(24.0, 8.0, 24.0) + detail.x).xyz - 0.5;
    vec3 creases = noises(p * vec3(20.0, 75.0, 20.0) + 3.0).xyz - 0.5;
    n = normalize(n + hang * (1.1 * long_folds + (0.35 + 1.5 * bend) * creases));
    albedo *= 1.0 + 0.12 * (noise(p * 700.0) - 0.5);
    albedo *= 1.0 + hang * 0.5 * (long_folds.x + creases.x * bend);
#elif MATERIAL == SHOE
    float low = smoothstep(0.018, 0.012, rest.y - centre.y);
    albedo = mix(fabric(colours[0], colours[1], colours[2], pattern, rest), colours[3], low);
#else
    float grain = pattern.x < 0.5 ? 0.0 : 1.0;
    vec3 p = rest * mix(vec3(14.0), vec3(40.0, 4.0, 40.0), step(1.5, pattern.x));
    albedo = mix(albedo, colours[1], grain * fbm(p + detail.x) * pattern.w);
#endif

    float lambert = (dot(n, sun) + wrap) / (1.0 + wrap);
    float shade = lambert > 0.0 ? lit(sun_position, smooth_n) : 0.0;
    vec3 light = irradiance(n) + sun_colour * max(lambert, 0.0) * shade;
#if MATERIAL == SKIN
    light += sun_colour * shade * vec3(0.10, 0.03, 0.01) * max(1.0 - abs(lambert - 0.1) * 4.0, 0.0);
#endif
    vec3 halfway = normalize(view + sun);
    float fresnel = 0.04 + 0.5 * pow(1.0 - clamp(dot(n, view), 0.0, 1.0), 4.0);
    vec3 specular = gloss * (sun_colour * shade * pow(max(dot(n, halfway), 0.0), shine) * 0.6 + 0.35 * fresnel * irradiance(reflect(-view, n)));
    colour = vec4(albedo * light + specular, 1.0);
}
