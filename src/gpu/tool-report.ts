import type { ToolReport, Vendor } from './gpu.ts'

export function okReport(vendor: Vendor, tool: string): ToolReport {
  return { vendor, tool, outcome: 'ok', message: '', remedy: '' }
}

/** A tool past its deadline: the usual cause is a driver that hangs in the kernel, where no signal reaches. */
export function hungReport(vendor: Vendor, tool: string, timeoutMs: number): ToolReport {
  return {
    vendor,
    tool,
    outcome: 'hung',
    message: `driver hung: ${tool} did not answer within ${timeoutMs / 1000} s`,
    remedy: 'see `dmesg`; a hung driver is freed by a reboot',
  }
}

export function unreadableReport(
  vendor: Vendor,
  tool: string,
  what = 'answered what this program cannot read',
): ToolReport {
  return {
    vendor,
    tool,
    outcome: 'unreadable',
    message: `${tool} ${what}`,
    remedy: `run ${tool} by hand and see what it says`,
  }
}

/** A tool that is there and would not start; `reason` is the system's error code. */
export function deniedReport(vendor: Vendor, tool: string, reason: string): ToolReport {
  return {
    vendor,
    tool,
    outcome: 'denied',
    message: `${tool} could not be started (${reason})`,
    remedy: 'look at the file that PATH finds first',
  }
}
