import { createHash } from 'node:crypto'
import type { Raster } from './png.ts'

/** A stream of numbers in [0, 1) from a seed: mulberry32. */
export function randomFrom(seed: string): () => number {
  let state = createHash('sha256').update(seed).digest().readUInt32LE(0)
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

type Rgb = readonly [number, number, number]

const mix = (a: number, b: number, t: number) => a + (b - a) * t

function fromHsl(hue: number, saturation: number, lightness: number): Rgb {
  const channel = (offset: number) => {
    const k = (offset + hue * 12) % 12
    return lightness - saturation * Math.min(lightness, 1 - lightness) * Math.max(-1, Math.min(k - 3, 9 - k, 1))
  }
  return [channel(0), channel(8), channel(4)]
}

/** Words that set the mood, so that a prompt is seen in its picture. Hue in [0, 1), darkness in [0, 1]. */
const MOODS: readonly (readonly [RegExp, number, number])[] = [
  [/\b(sunset|dusk|fire|lava|desert|autumn|orange)\b/i, 0.03, 0.35],
  [/\b(sea|ocean|lake|water|ice|glacier|blue|winter)\b/i, 0.56, 0.3],
  [/\b(forest|jungle|moss|meadow|green|spring)\b/i, 0.36, 0.4],
  [/\b(night|galaxy|space|nebula|purple|midnight)\b/i, 0.72, 0.75],
  [/\b(rose|cherry|blossom|pink|flamingo)\b/i, 0.92, 0.15],
  [/\b(gold|honey|sand|lemon|yellow|morning)\b/i, 0.12, 0.15],
]

interface Scene {
  readonly sky: readonly [Rgb, Rgb, Rgb]
  readonly sun: { readonly x: number; readonly y: number; readonly r: number; readonly color: Rgb }
  readonly ridges: readonly {
    readonly base: number
    readonly waves: readonly (readonly [number, number, number])[]
    readonly color: Rgb
  }[]
  readonly stars: readonly (readonly [number, number, number])[]
}

function sceneFor(prompt: string, seed: string): Scene {
  const random = randomFrom(`${prompt}\0${seed}`)
  const mood = MOODS.find(([words]) => words.test(prompt))
  const hue = ((mood?.[1] ?? random()) + (random() - 0.5) * 0.07 + 1) % 1
  const dark = Math.min(0.85, Math.max(0.05, (mood?.[2] ?? random() * 0.6) + (random() - 0.5) * 0.2))
  const turn = (amount: number) => (hue + amount + 1) % 1
  const spread = 0.09 + random() * 0.12
  const light = 0.78 - dark * 0.45
  // A sky as green as its meadow would be poison: what is green stays below, and all light is warm.
  const soft = hue > 0.2 && hue < 0.5 ? 0.45 : 1
  const warm = (color: Rgb, amount: number): Rgb => {
    const sun = fromHsl(0.11, 1, 0.86)
    return [mix(color[0], sun[0], amount), mix(color[1], sun[1], amount), mix(color[2], sun[2], amount)]
  }
  const layers = 5
  return {
    sky: [
      fromHsl(turn(-spread * 1.5), 0.55 * soft, Math.max(0.1, light - 0.42 * (0.4 + dark))),
      fromHsl(turn(-spread * 0.4), 0.52 * soft, Math.max(0.2, light - 0.08)),
      warm(fromHsl(turn(spread * 0.8), 0.75 * soft, Math.min(0.85, light + 0.1)), 0.45 - dark * 0.25),
    ],
    sun: {
      x: 0.2 + random() * 0.6,
      y: 0.28 + random() * 0.26,
      r: 0.055 + random() * 0.075,
      color: warm(fromHsl(turn(spread), 0.9, 0.88), 0.72),
    },
    ridges: Array.from({ length: layers }, (_, i) => {
      const near = i / (layers - 1)
      return {
        base: 0.5 + 0.1 * i + (random() - 0.5) * 0.03,
        waves: Array.from(
          { length: 5 },
          (_, k) => [0.07 * (1 - near * 0.35) * 0.58 ** k, (1.1 + random() * 1.4) * 2 ** k, random() * 7] as const,
        ),
        color: fromHsl(
          turn(spread * (0.5 - near * 1.7)),
          0.42 + near * 0.12,
          Math.max(0.05, (light - 0.04) * (1 - near) ** 1.25 + 0.07),
        ),
      }
    }),
    stars: Array.from({ length: Math.round(dark * 90) }, () => [random(), random() * 0.55, random()] as const),
  }
}

const smooth = (t: number) => (t <= 0 ? 0 : t >= 1 ? 1 : t * t * (3 - 2 * t))

/**
 * A small landscape, the same for the same prompt, seed and size: sky, sun, ridges in the mist, stars where it is dark.
 * `done` from 0 to 1 is how far the sampler has come: noise at first, then the picture.
 */
export function paint(prompt: string, seed: string, width: number, height: number, done = 1): Raster {
  const scene = sceneFor(prompt, seed)
  const grain = randomFrom(`grain ${seed}`)
  const data = new Uint8Array(width * height * 3)
  const aspect = width / height
  const heights = scene.ridges.map(({ base, waves }) =>
    Float32Array.from({ length: width }, (_, px) => {
      const x = (px / height) * 1.6
      return waves.reduce(
        (sum, [size, speed, phase]) => sum + size * Math.sin(x * speed + phase + Math.sin(x * speed * 0.37 + phase)),
        base,
      )
    }),
  )
  const noise = 0.96 * Math.max(0, 1 - done) ** 1.15
  // Noise has the grain of a latent: some pixels wide, in the colours of the sky.
  const block = Math.max(1, Math.round(Math.max(width, height) / 96))
  const columns = Math.ceil(width / block)
  const latent =
    noise > 0 ? Float32Array.from({ length: columns * Math.ceil(height / block) * 3 }, grain) : new Float32Array(0)
  for (let py = 0; py < height; py++) {
    const y = py / height
    const lower = y < 0.45
    const t = smooth(lower ? y / 0.45 : (y - 0.45) / 0.35)
    for (let px = 0; px < width; px++) {
      const from = lower ? scene.sky[0] : scene.sky[1]
      const to = lower ? scene.sky[1] : scene.sky[2]
      const across = (px / width - scene.sun.x) * aspect
      const distance = Math.sqrt(across * across + (y - scene.sun.y) ** 2)
      const disc = smooth((scene.sun.r - distance) * height * 0.5 + 0.5)
      const glow = Math.max(disc, 0.55 * Math.exp(-distance * 5.2))
      let ridge = -1
      for (let i = 0; i < heights.length; i++) if (y > (heights[i]?.[px] as number)) ridge = i
      const at = (py * width + px) * 3
      const layer = scene.ridges[ridge]
      const depth = ridge < 0 ? 0 : y - (heights[ridge]?.[px] as number)
      const mist = ridge < 0 ? 0 : 0.42 * smooth(depth * 4.5) * (1 - ridge / 5)
      const halo = layer ? 0.16 * Math.exp(-distance * 4) : 0
      const speck = (grain() - 0.5) * 0.022
      for (let c = 0; c < 3; c++) {
        let value = mix(from[c] as number, to[c] as number, t)
        value = mix(value, scene.sun.color[c] as number, glow)
        if (layer) value = mix(layer.color[c] as number, scene.sky[2][c] as number, mist + halo)
        value += speck
        if (noise > 0) {
          const speckle = latent[(Math.floor(py / block) * columns + Math.floor(px / block)) * 3 + c] as number
          value = mix(value, 0.45 * (scene.sky[1][c] as number) + 0.55 * speckle, noise)
        }
        data[at + c] = Math.max(0, Math.min(255, Math.round(value * 255)))
      }
    }
  }
  if (noise < 0.4) for (const star of scene.stars) twinkle(data, width, height, star, heights[0] as Float32Array)
  return { width, height, channels: 3, data }
}

function twinkle(
  data: Uint8Array,
  width: number,
  height: number,
  [x, y, size]: readonly [number, number, number],
  horizon: Float32Array,
): void {
  const px = Math.floor(x * width)
  const py = Math.floor(y * height)
  if (y > (horizon[px] ?? 0) - 0.02) return
  const reach = size > 0.9 ? 1 : 0
  for (let dy = -reach; dy <= reach; dy++) {
    for (let dx = -reach; dx <= reach; dx++) {
      if (dx !== 0 && dy !== 0) continue
      const strength = dx === 0 && dy === 0 ? 0.35 + size * 0.6 : 0.25
      for (let c = 0; c < 3; c++) {
        const at = ((py + dy) * width + px + dx) * 3 + c
        data[at] = Math.round(mix(data[at] ?? 0, 255, strength))
      }
    }
  }
}
