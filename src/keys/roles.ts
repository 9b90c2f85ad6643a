/** From the least to the most; each may do all that the ones before it may. */
export const ROLES = ['viewer', 'user', 'admin'] as const

export type Role = (typeof ROLES)[number]

export function isAtLeast(role: Role, needed: Role): boolean {
  return ROLES.indexOf(role) >= ROLES.indexOf(needed)
}

/** Of two roles the lesser (security rule 6: a key known from two sources never gains by it). */
export function lesserRole(a: Role, b: Role): Role {
  return isAtLeast(a, b) ? b : a
}
