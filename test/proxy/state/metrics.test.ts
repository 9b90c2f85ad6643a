import { expect, test } from 'vitest'
import { createMetrics } from '../../../src/proxy/state/metrics.ts'

test('counters and gauges are printed as Prometheus reads them', () => {
  let sockets = 3
  const metrics = createMetrics({ sockets: () => sockets })
  metrics.count('refusals', { reason: 'role' })
  metrics.count('refusals', { reason: 'role' })
  metrics.count('refusals', { reason: 'a "b" \\ \n' })
  metrics.count('logins')
  sockets = 4
  expect(metrics.text()).toBe(
    [
      '# TYPE comfy_auth_refusals_total counter',
      'comfy_auth_refusals_total{reason="role"} 2',
      'comfy_auth_refusals_total{reason="a \\"b\\" \\\\ \\n"} 1',
      '# TYPE comfy_auth_logins_total counter',
      'comfy_auth_logins_total 1',
      '# TYPE comfy_auth_sockets gauge',
      'comfy_auth_sockets 4',
      '',
    ].join('\n'),
  )
})
