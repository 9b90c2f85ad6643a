import { string } from '@oclif/core/flags'

/** Which server, with which key: the same three flags for every client command. profiles/credential.ts reads them. */
export const serverFlags = {
  url: string({
    helpValue: 'URL',
    description: 'the server [default: the current profile, else http://127.0.0.1:8189]',
  }),
  profile: string({ helpValue: 'NAME', description: 'a server stored by login, with its key' }),
  'key-file': string({
    helpValue: 'FILE',
    description: 'a file that holds the key [default: COMFYUI_API_KEY, or the profile]',
  }),
}
