// Runs in ComfyUI's page before every other script. The session's cookie already lets the page in; this adds
// the storage token to its requests, leads to the login when the session has ended, and offers the way out.
{
  // What stands before our own paths: --base-path, or nothing.
  const BASE = new URL('.', document.currentScript?.src ?? `${location.origin}/`).pathname.slice(0, -1)
  const LOGIN = `${BASE}/auth_login.html`
  const ENTRY = 'comfyui_api_key'
  // Stands beside the entry (login.js puts both there and takes both away): alone it means that somebody
  // removed the entry by hand, which is a way to log out.
  const MARK = 'comfyui_api_key_kept'
  // The id of the key that this tab's page was for.
  const KEY_OF_TAB = 'comfyui_api_key_id'
  // The frontend notes what was typed at the next mouseup, and half a second later writes the draft that must be there again.
  const DRAFTS_MS = 1000
  const BETWEEN_PROBES_MS = 3000

  const { Request } = window
  const { key, wayOut } = document.currentScript?.dataset ?? {}
  const tabs = 'BroadcastChannel' in window ? new BroadcastChannel(`comfy-auth${BASE}`) : undefined
  const nativeFetch = window.fetch.bind(window)

  /** Storage can be switched off or broken, and then throws: the session's cookie is enough. */
  const quietly = (what) => {
    try {
      return what()
    } catch {
      return undefined
    }
  }
  const stores = () => [quietly(() => localStorage), quietly(() => sessionStorage)].filter(Boolean)
  const read = (store, name) => quietly(() => store.getItem(name)) ?? null

  /** A wrong key beside the session leaves the address, as the server drops it: every pair of these names, and nothing else. */
  const dropKey = () => {
    const pairs = location.search.slice(1).split('&')
    const kept = pairs.filter((pair) => !['api_key', 'token'].some((name) => new URLSearchParams(`&${pair}`).has(name)))
    if (kept.length === pairs.length) return
    const search = kept.length === 0 ? '' : `?${kept.join('&')}`
    history.replaceState(history.state, '', location.origin + location.pathname + search + location.hash)
  }
  quietly(dropKey)

  /**
   * Another key in this tab: a socket under the clientId of the one before is refused for a minute, and would be told of
   * that one's prompts. Without it the page gets a new one; the same key keeps it, and sees what it runs go on.
   */
  const changeHands = () => {
    const before = sessionStorage.getItem(KEY_OF_TAB)
    sessionStorage.setItem(KEY_OF_TAB, key)
    if (before === null || before === key) return
    if (window.name === sessionStorage.getItem('clientId')) window.name = ''
    sessionStorage.removeItem('clientId')
  }
  if (key) quietly(changeHands)

  const token = () => {
    for (const store of stores()) {
      const entry = read(store, ENTRY)
      if (entry !== null) return entry
      if (read(store, MARK) !== null) return void logOut().catch(() => {})
    }
    return undefined
  }

  /** Of this origin, and below --base-path: what else the host serves gets no token. */
  const isOurs = (address) =>
    quietly(() => {
      const { origin, pathname } = new URL(address, document.baseURI)
      return origin === location.origin && pathname.startsWith(`${BASE}/`)
    }) === true
  const isOurRefusal = (status, challenge) => status === 401 && (challenge ?? '').includes('realm="comfy-auth"')
  /** Another port of this host put the cookie of another session beside ours, or over it. */
  const isReplaced = (answer) => (answer.headers.get('www-authenticate') ?? '').includes('two-sessions')

  // --- The end of a session ---

  let leaving = false
  let probing = false
  let probedMs = -BETWEEN_PROBES_MS

  const goToLogin = (address) => {
    if (leaving) return
    leaving = true
    dispatchEvent(new MouseEvent('mouseup'))
    setTimeout(() => {
      if (!leaving) return
      location.replace(address)
      // Still here: somebody chose to stay, at the browser's question about unsaved changes.
      setTimeout(() => leaving && showEnded(address), 1000)
    }, DRAFTS_MS)
  }

  /** A 401, or a socket that broke: only when the session is gone for certain does the page leave, and once. */
  const askWhetherSessionLives = async () => {
    // The sockets of a logout close before its answer is there, which then says why.
    if (leaving || probing || loggingOut || performance.now() - probedMs < BETWEEN_PROBES_MS) return
    probing = true
    probedMs = performance.now()
    try {
      const ask = () =>
        nativeFetch(`${BASE}/`, { method: 'HEAD', headers: ownHeaders(), cache: 'no-store', redirect: 'manual' })
      let answer = await ask()
      // The refusal itself takes away what stands beside our cookie: what then stays is another's in its place.
      if (isReplaced(answer)) answer = await ask()
      if (isReplaced(answer)) {
        tabs?.postMessage('replaced')
        goToLogin(loginPage('notice=replaced&'))
      } else if (isOurRefusal(answer.status, answer.headers.get('www-authenticate'))) goToLogin(loginPage())
    } catch {
      // The server is away, which says nothing about the session.
    } finally {
      probing = false
    }
  }

  const loginPage = (notice = '') =>
    `${LOGIN}?${notice}next=${encodeURIComponent(location.pathname + location.search + location.hash)}`

  const ownHeaders = () => {
    const [entry] = stores().flatMap((store) => read(store, ENTRY) ?? [])
    return { Accept: 'application/json', ...(entry !== undefined && { Authorization: `Bearer ${entry}` }) }
  }

  let loggingOut
  const logOut = () => {
    loggingOut ??= (async () => {
      const headers = { ...ownHeaders(), 'Content-Type': 'application/json' }
      const answer = await nativeFetch(`${BASE}/auth_logout`, { method: 'POST', headers, keepalive: true })
      if (!answer.ok && !isOurRefusal(answer.status, answer.headers.get('www-authenticate'))) {
        throw new Error(`You are still logged in: the server answered with an error (${answer.status}).`)
      }
      forget()
      tabs?.postMessage('logout')
      goToLogin(`${LOGIN}?notice=logged-out`)
    })().finally(() => {
      loggingOut = undefined
    })
    return loggingOut
  }

  const forget = () => {
    for (const store of stores()) {
      quietly(() => store.removeItem(MARK))
      quietly(() => store.removeItem(ENTRY))
    }
  }

  /** Logs out on the server and in every tab. */
  window.comfyuiLogout = logOut

  tabs?.addEventListener('message', ({ data }) => {
    if (data === 'logout') {
      forget()
      goToLogin(`${LOGIN}?notice=logged-out`)
    } else if (data === 'replaced') {
      // A tab without a token could not tell by itself.
      if (ownHeaders().Authorization) askWhetherSessionLives()
      else goToLogin(loginPage('notice=replaced&'))
    } else if (data === 'login' && leaving) {
      leaving = false
      showWayOut()
    }
  })
  addEventListener('storage', ({ key, newValue }) => {
    if (key === ENTRY && newValue === null && token() === undefined) askWhetherSessionLives()
  })
  addEventListener('pageshow', (event) => {
    if (event.persisted) askWhetherSessionLives()
  })
  token()

  // --- Requests of this origin carry the token; everything else is left as it is ---

  /** A proxy of `native` is called as it is: no other length, no constructor. */
  const wrap = (holder, name, apply) => {
    holder[name] = new Proxy(holder[name], { apply })
  }

  /** What the browser makes of fetch's arguments, read once: of whatever frame or kind, this is where it goes. */
  const requestOf = (args) => {
    const request = new Request(...args)
    const entry = isOurs(request.url) ? token() : undefined
    if (entry !== undefined && !request.headers.has('authorization')) {
      quietly(() => request.headers.set('authorization', `Bearer ${entry}`))
    }
    return request
  }

  wrap(window, 'fetch', async (_, __, args) => {
    const asItIs = (typeof args[0] === 'string' && !isOurs(args[0])) || token() === undefined
    const request = asItIs ? undefined : quietly(() => requestOf(args))
    const answer = await nativeFetch(...(request ? [request] : args))
    if (!isOurs(answer.url) || !isOurRefusal(answer.status, answer.headers.get('www-authenticate'))) return answer
    // Nothing of it went upstream, and the refusal took away what stood beside our cookie. A body that is gone throws.
    const again = isReplaced(answer) ? quietly(() => requestOf(args)) : undefined
    const last = again ? await nativeFetch(again) : answer
    if (last === answer || isReplaced(last)) askWhetherSessionLives()
    return last
  })

  const { setRequestHeader } = XMLHttpRequest.prototype
  const known = new WeakMap()
  const watched = new WeakSet()

  wrap(XMLHttpRequest.prototype, 'open', (native, request, [method, ...args]) => {
    const before = known.get(request)
    // Made a string here, so that what is judged is what is opened
    if (args.length > 0) args[0] = `${args[0]}`
    const opened = { ours: isOurs(args[0]), authorised: false }
    known.set(request, opened)
    try {
      return native.call(request, method, ...args)
    } catch (error) {
      // It stays the request that it was
      if (known.get(request) === opened) known.set(request, before)
      throw error
    }
  })
  wrap(XMLHttpRequest.prototype, 'setRequestHeader', (native, xhr, args) => {
    const request = known.get(xhr)
    const set = native.apply(xhr, args)
    if (request && String(args[0]).toLowerCase() === 'authorization') request.authorised = true
    return set
  })
  wrap(XMLHttpRequest.prototype, 'send', (native, xhr, args) => {
    const request = known.get(xhr)
    if (request?.ours) {
      const entry = token()
      if (entry !== undefined && !request.authorised) {
        quietly(() => setRequestHeader.call(xhr, 'Authorization', `Bearer ${entry}`))
        request.authorised = true
      }
      if (!watched.has(xhr)) {
        watched.add(xhr)
        xhr.addEventListener('loadend', () => {
          if (!known.get(xhr)?.ours || xhr.status !== 401) return
          if (isOurRefusal(401, xhr.getResponseHeader('www-authenticate'))) askWhetherSessionLives()
        })
      }
    }
    return native.apply(xhr, args)
  })

  /**
   * A beacon can carry no header, a fetch that outlives the page can. The browser takes 64 KiB of both at a time:
   * beyond the half of it, its own beacon answers whether there is room.
   */
  let inFlight = 0
  const sizeOf = (body) => {
    if (typeof body === 'string' || body instanceof Blob) return new Blob([body]).size
    return body ? (body.byteLength ?? 65_536) : 0 // another kind is left to the browser's own
  }
  if (navigator.sendBeacon) {
    wrap(Navigator.prototype, 'sendBeacon', (native, self, args) => {
      if (args.length > 0) args[0] = `${args[0]}`
      const [address, body] = args
      const entry = args.length > 0 && isOurs(address) ? token() : undefined
      const size = entry === undefined ? 0 : sizeOf(body)
      if (entry === undefined || inFlight + size > 32_768) return native.apply(self, args)
      inFlight += size
      const landed = () => {
        inFlight -= size
      }
      const headers = { authorization: `Bearer ${entry}` }
      nativeFetch(address, { method: 'POST', body, headers, keepalive: true }).then(landed, landed)
      return true
    })
  }

  /** Sockets and event streams carry the cookie, and no header: they are only watched for the end of the session. */
  const watch = (name, event, isEnd) => {
    const Native = window[name]
    if (!Native) return
    window[name] = new Proxy(Native, {
      construct(target, args, newTarget) {
        const stream = Reflect.construct(target, args, newTarget)
        const { origin } = new URL(stream.url.replace(/^ws/, 'http'))
        if (origin === location.origin) {
          stream.addEventListener(event, (detail) => isEnd(stream, detail) && askWhetherSessionLives())
        }
        return stream
      },
    })
    Native.prototype.constructor = window[name]
  }
  watch('WebSocket', 'close', (_, { code }) => code === 4401 || code === 1006)
  watch('EventSource', 'error', ({ readyState }) => readyState === EventSource.CLOSED)

  // --- What can be seen of all this: a small way out, and a word when the session has ended ---

  const STYLE = `
    :host { position: fixed; top: 4px; right: 46px; z-index: 1050; font: 13px/1.4 Inter, system-ui, sans-serif }
    :host(.says) { top: 52px; right: auto; left: 50%; transform: translateX(-50%); max-width: 90vw }
    div { display: flex; align-items: center; gap: 12px; padding: 10px 14px; border-radius: 8px; color: #eceef3;
      background: #23252c; border: 1px solid #5a6070; box-shadow: 0 6px 20px #0008 }
    a { color: #b9b4ff; font-weight: 600 }
    /* In the page's own text colour, which follows its palettes. */
    button { display: flex; align-items: center; gap: 6px; height: 28px; padding: 0 6px; color: var(--fg-color, inherit);
      background: none; border: 0; border-radius: 6px; font: inherit; white-space: nowrap; cursor: pointer }
    button:hover { color: #fff; background: #4f46c8 }
    @media (max-width: 720px) { span { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) } }
    :is(a, button):focus-visible { outline: 2px solid #a39cff; outline-offset: 1px }
    svg { width: 16px; fill: none; stroke: currentColor; stroke-width: 1.6; stroke-linecap: round; stroke-linejoin: round }`

  /** Of ComfyUI's tab strip, left of its user button: with many tabs its + would lie under the way out. */
  const ROOM = `
    [data-testid='integrated-tab-bar-actions'] { padding-left: 100px !important }
    @media (max-width: 720px) { [data-testid='integrated-tab-bar-actions'] { padding-left: 40px !important } }`

  /** Not a style element: the page's CSP need not allow it. */
  const sheetOf = (text) => {
    const sheet = new CSSStyleSheet()
    sheet.replaceSync(text)
    return sheet
  }

  let host
  const show = (element, says) => {
    if (!host) {
      host = document.createElement('comfy-auth')
      host.attachShadow({ mode: 'open' }).adoptedStyleSheets = [sheetOf(STYLE)]
      if (wayOut !== 'off') document.adoptedStyleSheets.push(sheetOf(ROOM))
    }
    host.className = says ? 'says' : ''
    host.shadowRoot.replaceChildren(...(element ? [element] : []))
    document.body.append(host)
  }

  const say = (text, link) => {
    const box = document.createElement('div')
    box.setAttribute('role', 'status')
    box.append(text, ...(link ? [link] : []))
    show(box, true)
  }

  /** In another tab, so that what is unsaved in this one stays; it goes on by itself after the login. */
  const showEnded = (address) => {
    const link = document.createElement('a')
    link.href = address
    link.target = '_blank'
    link.textContent = 'Log in'
    say('Your session has ended.', link)
  }

  const showWayOut = () => {
    if (wayOut === 'off') return host && show(undefined, false)
    const button = document.createElement('button')
    const text = document.createElement('span')
    text.textContent = button.title = 'Log out'
    button.type = 'button'
    const icon = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
    icon.setAttribute('viewBox', '0 0 16 16')
    icon.setAttribute('aria-hidden', 'true')
    const path = document.createElementNS(icon.namespaceURI, 'path')
    path.setAttribute('d', 'M6 2.5H3.5v11H6M6.5 8h7M11 5l3 3-3 3')
    icon.append(path)
    button.append(icon, text)
    button.addEventListener('click', () => {
      logOut().catch((error) => {
        say(error instanceof TypeError ? 'The server cannot be reached.' : error.message)
        setTimeout(showWayOut, 6000)
      })
    })
    show(button, false)
  }
  if (document.readyState === 'loading') addEventListener('DOMContentLoaded', showWayOut)
  else showWayOut()
}
