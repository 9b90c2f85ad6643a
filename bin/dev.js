#!/usr/bin/env node
// comfy-auth straight from src/: Node strips the types. No build, no manifest, slower to start.
import { main } from '../src/cli/main.ts'

process.exitCode = await main(process.argv.slice(2), { commands: './src/commands' })
