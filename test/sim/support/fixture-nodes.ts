import { encodeJpeg } from '../../../src/sim/jpeg.ts'
import { asNumber } from '../../../src/sim/json.ts'
import { nodeInfo } from '../../../src/sim/nodes/info.ts'
import { type NodeClass, type NodeContext, NodeError, type Value } from '../../../src/sim/nodes/types.ts'
import { encodePng, type Raster } from '../../../src/sim/png.ts'

const number = (context: NodeContext, name: string) => asNumber(context.input(name) as number) ?? 0

const plain = (width: number, height: number, fill: (index: number) => number): Raster => ({
  width,
  height,
  channels: 3,
  data: Uint8Array.from({ length: width * height * 3 }, (_, index) => fill(index)),
})

/** The helper nodes that stood beside the recorded server; they report progress and fail on demand. */
export const FIXTURE_NODES: readonly NodeClass[] = [
  {
    info: nodeInfo('FixturePreview', 'FixturePreview', 'fixture', ['IMAGE'], {
      steps: ['INT', { default: 3, min: 1, max: 100 }],
      format: [['JPEG', 'PNG']],
      delay_ms: ['INT', { default: 50, min: 0, max: 1000 }],
    }),
    async run(context) {
      const steps = number(context, 'steps')
      const format = context.input('format') === 'PNG' ? 'PNG' : 'JPEG'
      for (let step = 1; step <= steps; step++) {
        await context.sleep(number(context, 'delay_ms') / 4)
        const raster = plain(16, 16, () => step * 6)
        context.progress(step, steps, () => ({
          format,
          data: format === 'PNG' ? encodePng(raster) : encodeJpeg(raster),
        }))
      }
      return { outputs: [{ kind: 'IMAGE', images: [plain(16, 16, () => 9)] }] }
    },
  },
  {
    info: nodeInfo('FixtureFail', 'FixtureFail', 'fixture', ['IMAGE'], { image: ['IMAGE'] }),
    run() {
      throw new NodeError('RuntimeError', 'fixture: this node always fails\n')
    },
  },
  {
    info: nodeInfo('ImageAddNoise', 'Add Noise to Image', 'image', ['IMAGE'], {
      image: ['IMAGE'],
      seed: ['INT', { default: 0, min: 0, max: 18_446_744_073_709_551_615n }],
      strength: ['FLOAT', { default: 0.5, min: 0, max: 1 }],
    }),
    run(context) {
      const { images } = context.input('image') as Extract<Value, { kind: 'IMAGE' }>
      const noisy = images.map(({ width, height }) => plain(width, height, () => (Math.random() * 256) | 0))
      return { outputs: [{ kind: 'IMAGE', images: noisy }] }
    },
  },
]
