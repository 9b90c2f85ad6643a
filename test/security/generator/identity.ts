import type { Role } from '../../../src/keys/roles.ts'
import type { Draft, Header, Who } from './case.ts'
import type { Random } from './random.ts'
import type { World } from './world.ts'

export const basic = (key: string, user = 'me') => `Basic ${Buffer.from(`${user}:${key}`, 'latin1').toString('base64')}`
export const subprotocol = (key: string) => `comfy-auth.bearer.${Buffer.from(key, 'latin1').toString('base64url')}`
export const withPair = (target: string, pair: string) => `${target}${target.includes('?') ? '&' : '?'}${pair}`

/** A draft with the key of `who` on a carrier of chance; nobody has none. */
export function signed(draft: Draft, random: Random, world: World): Draft {
  const { who, target, headers = [] } = draft
  if (who === 'nobody') return draft
  const role: Role = who === 'viewer' || who === 'user' ? who : 'admin'
  const key = world.keys[role]
  const bearing = (...more: Header[]): Draft => ({
    ...draft,
    headers: random.chance(0.5) ? [...headers, ...more] : [...more, ...headers],
  })
  switch (random.int(8)) {
    case 0:
      return bearing(['Authorization', `Bearer ${key}`])
    case 1:
      return bearing(['authorization', `bEARER  ${key} `])
    case 2:
      return bearing(['X-API-Key', key])
    case 3:
      return target.includes('#')
        ? bearing(['X-API-Key', key])
        : { ...draft, target: withPair(target, `api_key=${key}`) }
    case 4:
      return target.includes('#')
        ? bearing(['X-API-Key', key])
        : { ...draft, target: withPair(target, `to%6ben=${key}`) }
    case 5:
      return bearing(['Authorization', basic(key)])
    case 6:
      return bearing(['Cookie', `other=1; ${world.cookies[role]}`], ['Origin', world.origin])
    default:
      return bearing(
        ['Cookie', world.cookies[role]],
        ['Authorization', `Bearer ${world.tokens[role]}`],
        ['Sec-Fetch-Site', 'same-origin'],
      )
  }
}

/** Somebody who may do less than what is asked. */
export function lesser(least: Role, random: Random): Who {
  const who: Who[] = ['nobody', 'nobody']
  if (least !== 'viewer') who.push('viewer')
  if (least === 'admin') who.push('user')
  return random.pick(who)
}
