#!/usr/bin/env node
/* Plain old syntax, so that any Node can read it as far as the version check. */
var engines = { 22: [22, 2], 24: [15, 0] } // package.json: ^22.22.2 || ^24.15 || >=26
var version = process.versions.node.split('.').map(Number)
var floor = engines[version[0]]
var fits = version[0] >= 26 || (floor && (version[1] > floor[0] || (version[1] === floor[0] && version[2] >= floor[1])))

if (fits) start()
else {
  console.error(
    'comfy-auth needs Node 22.22.2, 24.15 or 26, and this is Node ' +
      process.versions.node +
      ': install one from https://nodejs.org, or run `npx -y node@24 "' +
      process.argv[1] +
      '"`.',
  )
  process.exitCode = 2
}

/* Node 22 calls node:sqlite experimental, once a process; it has not changed since. All other warnings pass. */
function dropSqliteWarning() {
  var emit = process.emitWarning
  process.emitWarning = (warning, type, code, from) => {
    var name = type
    if (type && typeof type === 'object') name = type.type
    if (name === 'ExperimentalWarning' && String(warning).indexOf('SQLite') >= 0) return
    return emit.call(process, warning, type, code, from)
  }
}

/* serve reads its keys again at a SIGHUP; until it listens for one itself it has read none, and must not end by it. */
function keepThroughHangup() {
  if (process.argv[2] === 'serve') process.on('SIGHUP', () => {})
}

function start() {
  keepThroughHangup()
  dropSqliteWarning()
  return import('node:module')
    .then((module) => {
      module.enableCompileCache()
      return import('../dist/cli/main.js')
    })
    .then(
      (cli) => cli.main(process.argv.slice(2)),
      (error) => {
        if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error
        console.error('comfy-auth is not built yet: run `npm ci` (or `npm run build`) in its folder.')
        return 1
      },
    )
    .then((code) => {
      process.exitCode = code
    })
}
