import type { Role } from '../../../src/keys/roles.ts'
import { bytesOf, type Draft, type Family, raw, type Who } from './case.ts'
import { signed } from './identity.ts'
import { mutate } from './mutations.ts'
import type { Place } from './paths.ts'
import { HANDSHAKE } from './upgrades.ts'

function gets(role: Role, ...targets: readonly string[]): Place[] {
  return targets.map((target) => ({ role, method: 'GET', target }))
}

/** In and around what --exempt-path names in the setup of that name. */
export const EXEMPTED: readonly Place[] = [
  ...gets('viewer', '/ws', '/system_stats', '/my-node', '/my-node/', '/my-node/a/b', '/my-nodes/a', '/object_info'),
  ...gets('viewer', '/object_info/KSampler', '/object_info/Foo%2F%2FBar', '/user.css', '/api/ws', '/api/system_stats'),
  ...gets('viewer', '/api/object_info/KSampler', '/queue', '/ws/x', '/wsx', '/system_stats/x', '/view?filename=a.png'),
  ...gets('admin', '/api/my-node/a', '/api/user.css', '/my-node/../queue', '/my-node/..%2fqueue', '/internal/logs'),
  ...gets('admin', '/my-node/%2e%2e/internal/logs', '/object_info/../queue', '/object_info/..%2f..%2finternal%2flogs'),
  { role: 'user', method: 'POST', target: '/system_stats' },
  { role: 'user', method: 'POST', target: '/my-node/a' },
  { role: 'user', method: 'POST', target: '/userdata/user.css' },
  { role: 'user', method: 'DELETE', target: '/my-node/a' },
  { role: 'admin', method: 'OPTIONS', target: '/my-node/a' },
]

/** In and around what --route names in the setup of that name. */
export const ROUTED: readonly Place[] = [
  ...gets('admin', '/easyuse', '/easyuse/', '/easyuse/a', '/easyuse/a/b.js', '/easyuses/a', '/api/easyuse/a'),
  ...gets(
    'admin',
    '/my-node/list',
    '/my-node/list/',
    '/my-node/list/a',
    '/my-node/lists',
    '/my-node',
    '/api/my-node/list',
  ),
  ...gets('admin', '/easyuse/../internal/logs', '/easyuse/..%2finternal%2flogs', '/easyuse/%2e%2e/manager/reboot'),
  ...gets('admin', '/manager/reboot', '/internal/logs', '/v2/manager/reboot', '/api/api/easyuse/a', '/x/easyuse/a'),
  { role: 'admin', method: 'POST', target: '/easyuse/a' },
  { role: 'admin', method: 'POST', target: '/easyuse' },
  { role: 'admin', method: 'POST', target: '/my-node/list' },
  { role: 'admin', method: 'PUT', target: '/my-node/list' },
  { role: 'admin', method: 'DELETE', target: '/easyuse/a' },
  { role: 'admin', method: 'POST', target: '/api/my-node/run' },
  { role: 'admin', method: 'POST', target: '/my-node/run' },
  { role: 'admin', method: 'POST', target: '/free' },
  { role: 'admin', method: 'PATCH', target: '/internal/logs/subscribe' },
]

const V4 = [
  'manager/queue/task manager/queue/batch manager/queue/start manager/queue/reset manager/queue/update_all',
  'manager/queue/update_comfyui manager/queue/install_model manager/reboot customnode/install/git_url',
  'customnode/install/pip snapshot/restore snapshot/save snapshot/remove comfyui_manager/comfyui_switch_version',
  'manager/db_mode manager/policy/update manager/channel_url_list manager/share_option',
]
const V4_READS = [
  'manager/version manager/queue/status manager/queue/history manager/queue/history_list manager/is_legacy_manager_ui',
  'manager/get_openart_auth manager/get_matrix_auth manager/youml/settings manager/get_comfyworkflows_auth',
  'manager/get_esheep_workflow_and_images manager/db_mode manager/policy/update customnode/installed',
  'customnode/getmappings customnode/fetch_updates customnode/getlist snapshot/getlist snapshot/get_current',
  'comfyui_manager/comfyui_versions externalmodel/getlist',
]
const V3 = [
  'manager/reboot manager/queue/start manager/queue/install manager/queue/update_all manager/db_mode manager/notice',
  'manager/preview_method manager/share_option customnode/getlist customnode/getmappings customnode/alternatives',
  'customnode/install/git_url customnode/install/pip externalmodel/getlist snapshot/getlist snapshot/restore',
  'snapshot/get_current comfyui_manager/comfyui_versions comfyui_manager/comfyui_switch_version',
]

const words = (lines: readonly string[]) => lines.flatMap((line) => line.split(' '))

/** Manager, v3 and v4, by every name and method: admin's alone. */
export const MANAGED: readonly Place[] = [
  ...words(V4).map((path) => ({ role: 'admin' as const, method: 'POST', target: `/v2/${path}` })),
  ...words([...V4, ...V4_READS]).flatMap((path) => gets('admin', `/v2/${path}`)),
  ...words(V3).flatMap((path) => [
    ...gets('admin', `/${path}`),
    { role: 'admin' as const, method: 'POST', target: `/${path}` },
  ]),
  ...gets('admin', '/extensions/comfyui-manager-legacy/a.json', '/customnode/alternatives', '/v2/manager'),
  ...gets('admin', '/v2/userdata/../manager/version', '/v2/userdata/..%2fmanager/version', '/v2/users', '/v2'),
].flatMap((place) => [place, { ...place, target: `/api${place.target}` }])

/** As sockets: what is open for reading is not open for that, unless it is named whole. */
export function sockets(places: readonly Place[]): Family {
  const read = places.filter(({ method }) => method === 'GET')
  return (random, world, tag) => {
    const { target } = random.pick(read)
    const who = random.pick<Who>(['nobody', 'nobody', 'viewer', 'foreign'])
    const draft: Draft = { who, method: 'GET', target: mutate(target, random, random.int(2)), headers: HANDSHAKE }
    const sent: Draft =
      who === 'foreign'
        ? {
            ...draft,
            headers: [
              ...HANDSHAKE,
              ['Origin', 'https://evil.example'],
              ...(random.chance(0.5) ? [['Cookie', world.cookies.admin] as const] : []),
            ],
          }
        : signed(draft, random, world)
    return raw('sockets', bytesOf(sent, tag(who), world), random)
  }
}
