/**
 * Draws with WebGL 2: every square and every piece of a line is one instance of a rectangle, so that
 * panning and zooming change three numbers, and a task that changes its state one byte.
 */
import type { Camera } from '../../model/graph/camera';
import {
  DIM_OPACITY,
  PIECE,
  type Counters,
  type Painter,
  type Palette,
  type Rgba
} from './painter';

const COMMON = `#version 300 es
precision highp float;
uniform vec3 camera;
uniform vec2 view;
uniform float ratio;
vec4 onScreen(vec2 pixel) {
  return vec4(pixel.x / view.x * 2.0 - 1.0, 1.0 - pixel.y / view.y * 2.0, 0.0, 1.0);
}
`;

const SQUARE_VERTEX = `${COMMON}
in vec2 corner;
in vec2 place;
in float code;
uniform float size;
uniform vec4 stages[5];
out vec4 colour;
out vec2 inside;
flat out int stage;
void main() {
  int bits = int(code + 0.5);
  stage = bits & 7;
  colour = stages[stage];
  if ((bits & 8) != 0) { colour.a *= ${DIM_OPACITY}; }
  // Whole pixels of the device: all squares are equally large, and their edges sharp.
  float side = max(1.0, floor(size * camera.z * ratio + 0.01));
  vec2 first = floor((place - camera.xy) * camera.z * ratio + 0.5);
  inside = corner * side;
  gl_Position = onScreen((first + corner * side) / ratio);
}`;

const SQUARE_FRAGMENT = `#version 300 es
precision highp float;
in vec4 colour;
in vec2 inside;
flat in int stage;
uniform float side;
uniform float ratio;
uniform vec4 surface;
out vec4 result;
void main() {
  vec4 found = colour;
  float px = side / ratio;
  if (px >= 7.0) {
    // Failed and cancelled tasks have a mark, for whom colours do not tell enough.
    vec2 p = inside / side;
    float pen = 1.3 * ratio / side;
    if (stage == 3 && (abs(p.x - p.y) < pen || abs(p.x + p.y - 1.0) < pen)
        && min(min(p.x, p.y), min(1.0 - p.x, 1.0 - p.y)) > 0.2) {
      found.rgb = surface.rgb;
    }
    if (stage == 4 && abs(p.y - 0.5) < pen && abs(p.x - 0.5) < 0.3) {
      found.rgb = surface.rgb;
    }
    float radius = min(3.0 * ratio, side * 0.2);
    vec2 off = abs(inside - side * 0.5) - (side * 0.5 - radius);
    float distance = length(max(off, 0.0)) - radius;
    found.a *= clamp(0.5 - distance, 0.0, 1.0);
  }
  result = vec4(found.rgb * found.a, found.a);
}`;

const LINE_VERTEX = `${COMMON}
in vec2 corner;
in vec4 ends;
in vec2 widths;
in float along;
in float code;
uniform vec4 line;
uniform vec4 busy;
out vec4 colour;
out float across;
out float half_width;
out float way;
flat out int dashed;
void main() {
  int bits = int(code + 0.5);
  colour = (bits & 1) != 0 ? busy : line;
  if ((bits & 4) != 0) { colour.a *= ${DIM_OPACITY}; }
  dashed = bits & 2;
  vec2 a = (ends.xy - camera.xy) * camera.z;
  vec2 b = (ends.zw - camera.xy) * camera.z;
  vec2 d = b - a;
  float l = max(length(d), 0.0001);
  vec2 t = d / l;
  float scale = clamp(camera.z, 0.45, 1.6);
  half_width = mix(widths.x, widths.y, corner.x) * 0.5 * scale;
  across = (corner.y * 2.0 - 1.0) * (half_width + 0.75);
  bool body = widths.x == widths.y;
  vec2 at = a + t * (corner.x * l + (body ? (corner.x * 2.0 - 1.0) * 0.35 : 0.0));
  way = (along + corner.x * length(ends.zw - ends.xy)) * camera.z;
  gl_Position = onScreen(at + vec2(-t.y, t.x) * across);
}`;

const LINE_FRAGMENT = `#version 300 es
precision highp float;
in vec4 colour;
in float across;
in float half_width;
in float way;
flat in int dashed;
out vec4 result;
void main() {
  if (dashed != 0 && mod(way, 7.0) > 3.5) { discard; }
  float a = colour.a * clamp(half_width + 0.5 - abs(across), 0.0, 1.0);
  result = vec4(colour.rgb * a, a);
}`;

interface Program {
  program: WebGLProgram;
  array: WebGLVertexArrayObject;
  at: (name: string) => WebGLUniformLocation | null;
}

/**
 * A painter on this canvas; null where the browser has no WebGL 2, where its programs do not compile,
 * and where it would be emulated by the processor: a plain canvas is several times faster then.
 */
export function webglPainter(
  canvas: HTMLCanvasElement,
  onLost: () => void,
  counters: Counters
): Painter | null {
  let gl: WebGL2RenderingContext | null = null;
  try {
    emulated ??= isEmulated();
    if (emulated) {
      return null; // before this canvas is given away: it can be drawn on in one way only
    }
    gl = canvas.getContext('webgl2', { antialias: false, premultipliedAlpha: true });
    return gl === null ? null : new WebGLPainter(gl, canvas, onLost, counters);
  } catch {
    gl?.getExtension('WEBGL_lose_context')?.loseContext();
    return null;
  }
}

let emulated: boolean | null = null;
const EMULATORS = /swiftshader|llvmpipe|softpipe|software|basic render/i;

function isEmulated(): boolean {
  const gl = document
    .createElement('canvas')
    .getContext('webgl2', { failIfMajorPerformanceCaveat: true });
  const info = gl?.getExtension('WEBGL_debug_renderer_info');
  const name: unknown = info ? gl?.getParameter(info.UNMASKED_RENDERER_WEBGL) : '';
  gl?.getExtension('WEBGL_lose_context')?.loseContext();
  return gl === null || EMULATORS.test(String(name));
}

class WebGLPainter implements Painter {
  readonly kind = 'webgl';
  private readonly squares: Program;
  private readonly lines: Program;
  private readonly buffers = new Map<string, { buffer: WebGLBuffer; size: number }>();
  private readonly lost: (event: Event) => void;
  private palette: Palette | null = null;
  private count = 0;
  private size = 1;
  private pieces = 0;
  private width = 1;
  private height = 1;
  private ratio = 1;

  constructor(
    private readonly gl: WebGL2RenderingContext,
    private readonly canvas: HTMLCanvasElement,
    onLost: () => void,
    private readonly counters: Counters
  ) {
    this.squares = this.program(SQUARE_VERTEX, SQUARE_FRAGMENT);
    this.corner(this.squares, [0, 0, 1, 0, 0, 1, 1, 1]);
    this.attribute(this.squares, 'place', 'places', 2, gl.FLOAT, 8, 0);
    this.attribute(this.squares, 'code', 'codes', 1, gl.UNSIGNED_BYTE, 1, 0);
    this.lines = this.program(LINE_VERTEX, LINE_FRAGMENT);
    this.corner(this.lines, [0, 0, 1, 0, 0, 1, 1, 1]);
    const stride = PIECE * 4;
    this.attribute(this.lines, 'ends', 'pieces', 4, gl.FLOAT, stride, 0);
    this.attribute(this.lines, 'widths', 'pieces', 2, gl.FLOAT, stride, 16);
    this.attribute(this.lines, 'along', 'pieces', 1, gl.FLOAT, stride, 24);
    this.attribute(this.lines, 'code', 'lineCodes', 1, gl.UNSIGNED_BYTE, 1, 0);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    this.lost = event => {
      event.preventDefault();
      onLost();
    };
    canvas.addEventListener('webglcontextlost', this.lost);
  }

  resize(width: number, height: number, ratio: number): void {
    this.width = Math.max(1, width);
    this.height = Math.max(1, height);
    this.ratio = ratio;
    const [w, h] = [Math.round(this.width * ratio), Math.round(this.height * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== h) {
      this.canvas.width = w;
      this.canvas.height = h;
    }
    this.gl.viewport(0, 0, w, h);
  }

  setPalette(palette: Palette): void {
    this.palette = palette;
  }

  setSquares(places: Float32Array, count: number, size: number): void {
    this.count = count;
    this.size = size;
    this.fill('places', places.subarray(0, 2 * count));
    this.room('codes', count);
  }

  setCodes(codes: Uint8Array, from: number, to: number): void {
    if (to > from) {
      this.part('codes', codes.subarray(from, to), from);
    }
  }

  setLines(pieces: Float32Array, codes: Uint8Array): void {
    this.pieces = codes.length;
    this.fill('pieces', pieces);
    this.fill('lineCodes', codes);
  }

  setLineCodes(codes: Uint8Array): void {
    this.part('lineCodes', codes, 0);
  }

  draw(camera: Camera): void {
    const { gl, palette } = this;
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    this.counters.frames += 1;
    if (palette === null) {
      return;
    }
    if (this.pieces > 0) {
      this.use(this.lines, camera);
      gl.uniform4fv(this.lines.at('line'), palette.line);
      gl.uniform4fv(this.lines.at('busy'), palette.busy);
      gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, this.pieces);
    }
    if (this.count > 0) {
      this.use(this.squares, camera);
      const side = Math.max(1, Math.floor(this.size * camera.zoom * this.ratio + 0.01));
      gl.uniform1f(this.squares.at('size'), this.size);
      gl.uniform1f(this.squares.at('side'), side);
      gl.uniform4fv(this.squares.at('surface'), palette.surface);
      gl.uniform4fv(
        this.squares.at('stages'),
        palette.stages.flatMap((c: Rgba) => [...c])
      );
      gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, this.count);
    }
  }

  dispose(): void {
    this.canvas.removeEventListener('webglcontextlost', this.lost);
    // A page may have sixteen contexts: this one is given back now, not when it is collected.
    this.gl.getExtension('WEBGL_lose_context')?.loseContext();
  }

  private use(program: Program, camera: Camera): void {
    const { gl } = this;
    gl.useProgram(program.program);
    gl.bindVertexArray(program.array);
    gl.uniform3f(program.at('camera'), camera.x, camera.y, camera.zoom);
    gl.uniform2f(program.at('view'), this.width, this.height);
    gl.uniform1f(program.at('ratio'), this.ratio);
  }

  private program(vertex: string, fragment: string): Program {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, text] of [
      [gl.VERTEX_SHADER, vertex],
      [gl.FRAGMENT_SHADER, fragment]
    ] as const) {
      const shader = gl.createShader(kind);
      if (shader === null) {
        throw new Error('the WebGL context is lost');
      }
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) {
        throw new Error(gl.getShaderInfoLog(shader) ?? 'a shader does not compile');
      }
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
      throw new Error(gl.getProgramInfoLog(program) ?? 'a program does not link');
    }
    const places = new Map<string, WebGLUniformLocation | null>();
    const at = (name: string): WebGLUniformLocation | null => {
      if (!places.has(name)) {
        places.set(name, gl.getUniformLocation(program, name));
      }
      return places.get(name)!;
    };
    return { program, array: gl.createVertexArray(), at };
  }

  private corner(program: Program, values: number[]): void {
    const { gl } = this;
    gl.bindVertexArray(program.array);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(values), gl.STATIC_DRAW);
    const place = gl.getAttribLocation(program.program, 'corner');
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, 2, gl.FLOAT, false, 0, 0);
  }

  private attribute(
    program: Program,
    name: string,
    buffer: string,
    size: number,
    type: number,
    stride: number,
    offset: number
  ): void {
    const { gl } = this;
    gl.bindVertexArray(program.array);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffer(buffer).buffer);
    const place = gl.getAttribLocation(program.program, name);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, type, false, stride, offset);
    gl.vertexAttribDivisor(place, 1);
  }

  private buffer(name: string): { buffer: WebGLBuffer; size: number } {
    let found = this.buffers.get(name);
    if (found === undefined) {
      found = { buffer: this.gl.createBuffer(), size: 0 };
      this.buffers.set(name, found);
    }
    return found;
  }

  private fill(name: string, data: Float32Array | Uint8Array): void {
    const { gl } = this;
    const entry = this.buffer(name);
    gl.bindBuffer(gl.ARRAY_BUFFER, entry.buffer);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.DYNAMIC_DRAW);
    entry.size = data.byteLength;
    this.counters.uploaded += data.byteLength;
  }

  private room(name: string, size: number): void {
    const { gl } = this;
    const entry = this.buffer(name);
    if (entry.size < size) {
      gl.bindBuffer(gl.ARRAY_BUFFER, entry.buffer);
      gl.bufferData(gl.ARRAY_BUFFER, size * 2, gl.DYNAMIC_DRAW);
      entry.size = size * 2;
    }
  }

  private part(name: string, data: Uint8Array, offset: number): void {
    const { gl } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffer(name).buffer);
    gl.bufferSubData(gl.ARRAY_BUFFER, offset, data);
    this.counters.uploaded += data.byteLength;
  }
}
