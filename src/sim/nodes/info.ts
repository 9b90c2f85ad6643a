import type { InputSpec, NodeInfo } from './types.ts'

/** An /object_info entry with the fields that most nodes share; `more` replaces any of them. */
export function nodeInfo(
  name: string,
  display: string,
  category: string,
  output: readonly string[],
  required: Record<string, InputSpec>,
  more: Partial<NodeInfo> = {},
): NodeInfo {
  const hidden = more.input?.hidden
  return {
    input_order: hidden
      ? { required: Object.keys(required), hidden: Object.keys(hidden) }
      : { required: Object.keys(required) },
    is_input_list: false,
    output,
    output_is_list: output.map(() => false),
    output_name: output,
    name,
    display_name: display,
    description: '',
    python_module: 'nodes',
    category,
    output_node: false,
    has_intermediate_output: false,
    search_aliases: [],
    ...more,
    input: hidden ? { required, hidden } : { required },
  }
}
