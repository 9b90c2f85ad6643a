// One hostile process of bench/floods: node attacker.ts FLOOD PORT KEY. Says `true` once the flood stands, its counts when asked to end.
import { Attacker } from './attack.ts'
import { HTTP1 } from './http1.ts'
import { HTTP2 } from './http2.ts'

const [name = '', port, key = ''] = process.argv.slice(2)
const attack = { ...HTTP1, ...HTTP2 }[name]!
const attacker = new Attacker(Number(port), key, attack.http2 === true)
process.once('message', () => process.send!(attacker.counts, () => process.exit(0)))
process.once('disconnect', () => process.exit(0))
await attack.start(attacker)
process.send!(true)
