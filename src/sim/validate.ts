import { createChecks, field, type NodeTable, type Problem } from './checks.ts'
import { type Json, type JsonMap, pyStr, truthy, type Writable } from './json.ts'
import type { NodeContext } from './nodes/types.ts'

export interface Verdict {
  /** The outputs that can run; none where the prompt is refused. */
  readonly outputs: readonly string[]
  readonly error?: Writable
  readonly nodeErrors: Writable
}

/** ComfyUI's validation of one prompt: what is wrong is said by node and input; one good output among bad ones is enough. */
export function validatePrompt(
  prompt: JsonMap,
  targets: Json | undefined,
  nodes: NodeTable,
  folders: NodeContext['folders'],
): Verdict {
  const refuse = (type: string, message: string, details: string, extra: Writable = {}): Verdict => ({
    outputs: [],
    error: { type, message, details, extra_info: extra },
    nodeErrors: {},
  })
  const outputs: string[] = []
  for (const [id, node] of prompt) {
    const title = field(field(node, '_meta'), 'title')
    const classType = field(node, 'class_type')
    const known = typeof classType === 'string' ? nodes.get(classType) : undefined
    if (classType === undefined) {
      const name = truthy(title) ? pyStr(title ?? null) : `ID #${id}`
      return refuse(
        'missing_node_type',
        `Node '${name}' has no class_type. The workflow may be corrupted or a custom node is missing.`,
        `Node ID '#${id}'`,
        {
          node_id: id,
          class_type: null,
          node_title: title ?? null,
        },
      )
    }
    if (!known) {
      const name = title ?? classType
      return refuse(
        'missing_node_type',
        `Node '${pyStr(name)}' not found. The custom node may not be installed.`,
        `Node ID '#${id}'`,
        {
          node_id: id,
          class_type: classType,
          node_title: name,
        },
      )
    }
    const wanted = targets === undefined || targets === null || (Array.isArray(targets) && targets.includes(id))
    if (known.info.output_node && wanted) outputs.push(id)
  }
  if (outputs.length === 0) return refuse('prompt_no_outputs', 'Prompt has no outputs', '')

  const checks = createChecks(prompt, nodes, folders)
  const good: string[] = []
  const messages: string[] = []
  const nodeErrors = new Map<string, { errors: readonly Problem[]; dependent_outputs: string[]; class_type: string }>()
  for (const output of outputs) {
    const problems = checks.output(output)
    if (problems === undefined) {
      good.push(output)
      continue
    }
    for (const { message, details } of problems) messages.push(`${message}: ${details}`)
    for (const [id, found] of checks.results) {
      if (found.valid || found.problems.length === 0) continue
      const entry = nodeErrors.get(id) ?? {
        errors: found.problems,
        dependent_outputs: [],
        class_type: pyStr(field(prompt.get(id), 'class_type') ?? null),
      }
      entry.dependent_outputs.push(output)
      nodeErrors.set(id, entry)
    }
  }
  const errors = nodeErrors as unknown as Writable
  if (good.length > 0) return { outputs: good, nodeErrors: errors }
  return {
    ...refuse('prompt_outputs_failed_validation', 'Prompt outputs failed validation', messages.join('\n')),
    nodeErrors: errors,
  }
}
