import { ROLES, type Role } from '../../src/keys/roles.ts'

/** A prompt's or an asset's id, as it stands in the paths below. */
export const OWN_PROMPT = '0b6d1a3c-7f3e-4f0a-9a53-2f5f6f0f9b1e'

/** ComfyUI 0.33.0's routes by least role, written down apart from the code. A `+` has a twin under /api. */
const TABLE: Readonly<Record<Role, string>> = {
  viewer: `
    + GET /
    + GET /ws
    + GET /system_stats
    + GET /features
    + GET /prompt
    + GET /queue
    + GET /history
    + GET /history/${OWN_PROMPT}
    + GET /object_info
    + GET /object_info/KSampler
    + GET /object_info/Foo%2F%2FBar
    + GET /embeddings
    + GET /models
    + GET /models/checkpoints
    + GET /experiment/models
    + GET /experiment/models/checkpoints
    + GET /experiment/models/preview/checkpoints/0/a.safetensors
    + GET /experiment/models/preview/checkpoints/0/sub/a.safetensors
    + GET /view_metadata/checkpoints
    + GET /view
    + GET /extensions
    + GET /i18n
    + GET /workflow_templates
    + GET /node_replacements
    + GET /global_subgraphs
    + GET /global_subgraphs/abc
    + GET /settings
    + GET /settings/Comfy.Foo
    + GET /users
    + GET /userdata
    + GET /userdata/workflows%2Fa.json
    + GET /userdata/user.css
    + GET /v2/userdata
    + GET /api/jobs
    + GET /api/jobs/${OWN_PROMPT}
    - GET /api/assets
    - GET /api/assets/${OWN_PROMPT}
    - GET /api/assets/${OWN_PROMPT}/content
    - GET /api/assets/tags/refine
    - GET /api/assets/seed/status
    - HEAD /api/assets/hash/blake3:abc
    - GET /api/tags
    - GET /api/workflow_templates/node/a.json
    - GET /extensions/node/a.json
    - GET /templates/a.txt
    - GET /docs/a.md
    - GET /assets/a.map
    - GET /scripts/a
    - GET /lib/a
    - GET /fonts/a
    - GET /cursor/a
    - GET /index.html
    - GET /user.css`,
  user: `
    + POST /prompt
    + POST /upload/image
    + POST /upload/mask
    + POST /userdata/a.json
    + DELETE /userdata/workflows%2Fa.json
    + POST /userdata/a.json/move/b%2Fc.json
    + POST /userdata/sub%2Fuser.css
    + POST /settings
    + POST /settings/Comfy.Foo
    + POST /interrupt
    + POST /queue
    + POST /api/jobs/cancel
    + POST /api/jobs/${OWN_PROMPT}/cancel`,
  admin: `
    + POST /history
    + POST /free
    + POST /users
    + POST /userdata/user.css
    + POST /userdata/USER.CSS
    + POST /userdata/user.css.
    + POST /userdata/user.css%20
    + POST /userdata/user.css%3A%3A$DATA
    + POST /userdata/u%25%35%33er.css
    + POST /userdata/u%C5%BFer.css
    + DELETE /userdata/user.css
    + POST /userdata/a.css/move/user.css
    + POST /userdata/user.css/move/a.css
    - POST /api/assets
    - POST /api/assets/from-hash
    - PUT /api/assets/${OWN_PROMPT}
    - DELETE /api/assets/${OWN_PROMPT}
    - POST /api/assets/${OWN_PROMPT}/tags
    - DELETE /api/assets/${OWN_PROMPT}/tags
    - POST /api/assets/seed
    - POST /api/assets/seed/cancel
    - POST /api/assets/prune
    - GET /internal/logs
    - GET /internal/logs/raw
    - PATCH /internal/logs/subscribe
    - GET /internal/folder_paths
    - GET /internal/files/output
    - GET /extensions/comfyui-manager-legacy/a.json
    + GET /v2/manager/version
    + POST /v2/manager/queue/task
    + POST /v2/manager/reboot
    + GET /v2/customnode/installed
    + POST /v2/customnode/install/git_url
    + POST /v2/snapshot/restore
    + POST /v2/comfyui_manager/comfyui_switch_version
    + GET /v2/externalmodel/getlist
    + GET /manager/reboot
    + GET /customnode/alternatives
    + GET /externalmodel/getlist
    + GET /snapshot/get_current
    + GET /comfyui_manager/comfyui_versions
    - GET /jobs
    - POST /jobs/cancel
    - GET /tags
    - GET /internal
    - GET /api/internal/logs
    - GET /api
    - GET /api/templates/a.json
    - GET /api/docs/a.json
    - GET /api/extensions/node/a.js
    - GET /api/user.css
    - GET /api/index.html
    - GET /api/api/assets
    - GET /api/api/queue
    - GET /api/assets/hash
    - GET /api/assets/hash/blake3:abc
    - GET /api/assets/x
    - GET /api/assets/x/content
    - GET /v2/users
    - GET /queue/
    - GET /QUEUE
    - GET /history/a/b
    - GET /history/
    - GET /object_info/
    - GET /userdata/
    - GET /easyuse/prompts
    - POST /easyuse/save
    - PUT /queue
    - DELETE /queue
    - OPTIONS /queue
    - TRACE /queue
    - POST /system_stats
    - POST /view
    - PUT /userdata/a.json
    - PATCH /settings
    - POST /ws
    - POST /health
    - HEAD /interrupt
    - GET /interrupt
    - GET /upload/image`,
}

/** One a path: twins are cases of their own. */
export const ROUTE_CASES = ROLES.flatMap((role) =>
  TABLE[role]
    .trim()
    .split('\n')
    .flatMap((line) => {
      const [twin, method, path] = line.trim().split(' ') as [string, string, string]
      const twins = twin === '+' ? [path, `/api${path}`] : [path]
      return twins.map((target) => ({ role, method, target }))
    }),
)
