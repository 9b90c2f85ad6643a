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

  const { key, wayOut } = document.currentScript?.dataset ?? {}
  const tabs = 'BroadcastChannel' in window ? new BroadcastChannel(`comfy-auth${BASE}`) : undefined
  const nativeFetch = window.fetch.bind(window)

  /** Storage can be switched off, and then throws: the session's cookie is enough. */
  const quietly = (what) => {
    try {
      return what()
    } catch {
      return undefined
    }
  }
  const stores = () => [quietly(() => localStorage), quietly(() => sessionStorage)].filter(Boolean)

  /** A wrong key beside the session leaves the address, as the server drops it: every pair of these names, and nothing else. */
  const dropKey = () => {
    const pairs = location.search.slice(1).split('&')
    const kept = pairs.filter((pair) => !['api_key', 'token'].some((name) => new URLSearchParams(`&${pair}`).has(name)))
    if (kept.length === pairs.length) return
    const search = kept.length === 0 ? '' : `?${kept.join('&')}`
    history.replaceState(history.state, '', location.pathname + search + location.hash)
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
      const entry = store.getItem(ENTRY)
      if (entry !== null) return entry
      if (store.getItem(MARK) !== null) {
        logOut().catch(() => {})
        return undefined
      }
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
    if (leaving || probing || performance.now() - probedMs < BETWEEN_PROBES_MS) return
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
    const entry = stores()
      .map((store) => store.getItem(ENTRY))
      .find((value) => value !== null)
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
      store.removeItem(MARK)
      store.removeItem(ENTRY)
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

  /** fetch's own arguments with the header added; undefined where the caller's should go as they are. */
  const authorised = (input, init, value) => {
    if (init !== undefined && init !== null && typeof init !== 'object') return undefined
    const isRequest = input instanceof Request
    if (!isOurs(isRequest ? input.url : input)) return undefined
    const given = init?.headers
    if (isRequest && (given === undefined || given === null)) {
      if (input.headers.has('authorization')) return undefined
      const copy = new Request(input) // as it is: with an init, its referrer would be lost
      copy.headers.set('authorization', value)
      return [copy, init]
    }
    const headers = new Headers(given ?? {})
    if (headers.has('authorization')) return undefined
    headers.set('authorization', value)
    // The caller's init stands behind, so that members it inherits or computes are still found.
    return [input, Object.create(init ?? null, { headers: { value: headers, enumerable: true } })]
  }

  window.fetch = function fetch(...args) {
    const entry = args.length === 0 ? undefined : token()
    const added = entry === undefined ? undefined : quietly(() => authorised(args[0], args[1], `Bearer ${entry}`))
    return nativeFetch(...(added ?? args)).then((answer) => {
      if (!isOurs(answer.url) || !isOurRefusal(answer.status, answer.headers.get('www-authenticate'))) return answer
      if (!isReplaced(answer) || !isRepeatable(...args)) {
        askWhetherSessionLives()
        return answer
      }
      // Nothing of it went upstream, and the refusal took away what stood beside our cookie.
      const again = added && authorised(args[0], args[1], `Bearer ${entry}`)
      return nativeFetch(...(again ?? args)).then((second) => {
        if (isReplaced(second)) askWhetherSessionLives()
        return second
      })
    })
  }

  /** Its body, if any, is there for a second time. */
  const isRepeatable = (input, init) => {
    if (input instanceof Request && input.method !== 'GET' && input.method !== 'HEAD') return false
    return !(init?.body instanceof ReadableStream)
  }

  const { open, send, setRequestHeader } = XMLHttpRequest.prototype
  const known = new WeakMap()
  const watched = new WeakSet()

  XMLHttpRequest.prototype.open = function (...args) {
    known.set(this, { ours: isOurs(args[1]), authorised: false })
    return open.apply(this, args)
  }
  XMLHttpRequest.prototype.setRequestHeader = function (...args) {
    const request = known.get(this)
    if (request && String(args[0]).toLowerCase() === 'authorization') request.authorised = true
    return setRequestHeader.apply(this, args)
  }
  XMLHttpRequest.prototype.send = function (...args) {
    const request = known.get(this)
    if (request?.ours) {
      const entry = token()
      if (entry !== undefined && !request.authorised) {
        quietly(() => setRequestHeader.call(this, 'Authorization', `Bearer ${entry}`))
        request.authorised = true
      }
      if (!watched.has(this)) {
        watched.add(this)
        this.addEventListener('loadend', () => {
          if (this.status === 401 && known.get(this)?.ours) {
            if (isOurRefusal(401, this.getResponseHeader('www-authenticate'))) askWhetherSessionLives()
          }
        })
      }
    }
    return send.apply(this, args)
  }

  /** A beacon can carry no header, a fetch that outlives the page can: within the 64 KiB that both are given. */
  const nativeBeacon = navigator.sendBeacon?.bind(navigator)
  if (nativeBeacon) {
    navigator.sendBeacon = function sendBeacon(...args) {
      const [address, body] = args
      const entry = isOurs(address) ? token() : undefined
      const size = typeof body === 'string' ? body.length * 3 : (body?.size ?? body?.byteLength ?? 0)
      const plain = body === undefined || body === null || typeof body === 'string' || body instanceof Blob
      if (entry === undefined || size > 32_768 || !(plain || size > 0)) return nativeBeacon(...args)
      const headers = { authorization: `Bearer ${entry}` }
      nativeFetch(address, { method: 'POST', body, headers, keepalive: true }).catch(() => {})
      return true
    }
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
    if (wayOut === 'off') {
      if (host) show(undefined, false)
      return
    }
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
