// The login page's script. Without it the form still logs in; with it the page first asks whether a session
// lives (its cookie does not come along on a link from mail or chat), and shows errors in place.
{
  const ENTRY = 'comfyui_api_key'
  // Stands beside the entry: who finds it alone knows that the entry was taken away by hand (auth_inject.js).
  const MARK = 'comfyui_api_key_kept'
  const AUTOMATIC = 'comfy_auth_went_on'

  const { base, mode, next, token, storage, wait } = document.body.dataset
  const PAGE = `${base}/auth_login.html`
  const form = document.querySelector('form')
  const error = document.querySelector('#error')
  const field = document.querySelector('#api_key')
  const tabs = 'BroadcastChannel' in window ? new BroadcastChannel(`comfy-auth${base}`) : undefined

  /** Storage can be switched off, and then throws: the session's cookie is enough. */
  const quietly = (what) => {
    try {
      return what()
    } catch {
      return undefined
    }
  }

  const keep = (kind, value) => {
    for (const name of ['localStorage', 'sessionStorage']) {
      quietly(() => window[name].removeItem(MARK))
      quietly(() => window[name].removeItem(ENTRY))
    }
    if (!value) return
    const store = kind === 'local' ? 'localStorage' : 'sessionStorage'
    // In one go: where a full storage does not take the entry, the mark alone would say that it was taken away.
    quietly(() => {
      window[store].setItem(ENTRY, value)
      window[store].setItem(MARK, '1')
    })
  }

  /** As the server drops it: every pair of these names, and nothing else. A key that was no good must not stay either. */
  const dropKey = () => {
    const pairs = location.search.slice(1).split('&')
    const kept = pairs.filter((pair) => !['api_key', 'token'].some((name) => new URLSearchParams(`&${pair}`).has(name)))
    if (kept.length === pairs.length) return
    const search = kept.length === 0 ? '' : `?${kept.join('&')}`
    history.replaceState(history.state, '', location.origin + location.pathname + search + location.hash)
  }
  dropKey()

  /** The fragment never reached the server: it is this page's address that still has it. */
  const goTo = (target) => {
    const hash = location.pathname === PAGE || target.includes('#') ? '' : location.hash
    // Another address first: to replace a page by itself and a fragment would load nothing.
    history.replaceState(null, '', PAGE)
    location.replace(target + hash)
  }

  const challenge = (answer) => answer.headers.get('www-authenticate') ?? ''
  const ofOurs = (answer) => challenge(answer).includes('realm="comfy-auth"')
  const isReplaced = (answer) => challenge(answer).includes('two-sessions')

  /** The token goes along: were the cookie another session's, put there by another port, the server could not tell otherwise. */
  const headersOf = () => {
    const entry = quietly(() => localStorage.getItem(ENTRY)) ?? quietly(() => sessionStorage.getItem(ENTRY))
    return { Accept: 'application/json', ...(entry && { Authorization: `Bearer ${entry}` }) }
  }

  const ask = () => fetch(`${base}/`, { method: 'HEAD', headers: headersOf(), cache: 'no-store', redirect: 'manual' })

  /** Once for a target within ten seconds: were it refused again, the two pages would send each other round. */
  const goOnIfAlive = async () => {
    let answer = await ask()
    // The refusal itself took away what another port had put beside our cookie.
    if (isReplaced(answer)) answer = await ask()
    if (isReplaced(answer)) {
      const fragment = location.pathname === PAGE || next.includes('#') ? '' : location.hash
      location.replace(`${PAGE}?notice=replaced&next=${encodeURIComponent(next + fragment)}`)
    }
    if (answer.status === 429 || (answer.status === 401 && ofOurs(answer))) return
    const last = quietly(() => JSON.parse(sessionStorage.getItem(AUTOMATIC) ?? '[]')) ?? ['', Date.now()]
    if (last[0] === next && Math.abs(Date.now() - last[1]) < 10_000) return
    if (quietly(() => sessionStorage.setItem(AUTOMATIC, JSON.stringify([next, Date.now()])) ?? true)) goTo(next)
  }

  const show = (text) => {
    error.textContent = text
    field?.setAttribute('aria-invalid', String(text !== ''))
  }

  const button = form?.querySelector('[type=submit]')
  const label = button?.textContent

  let waiting
  const countDown = (seconds) => {
    clearTimeout(waiting)
    button.disabled = seconds > 0
    button.textContent = seconds > 0 ? `Wait ${seconds} s` : label
    if (seconds > 0) waiting = setTimeout(countDown, 1000, seconds - 1)
  }

  const slow = document.querySelector('#slow')
  let passing
  const pass = (seconds) => {
    clearTimeout(passing)
    if (!slow) return
    slow.hidden = seconds <= 0
    const [count, unit] = seconds < 90 ? [seconds, 'second'] : [Math.ceil(seconds / 60), 'minute']
    slow.querySelector('b').textContent = `${count} ${unit}${count === 1 ? '' : 's'}`
    if (seconds > 0) passing = setTimeout(pass, 1000, seconds - 1)
  }

  const send = async (path, body) => {
    const headers = { ...headersOf(), 'Content-Type': 'application/json' }
    const answer = await fetch(path, { method: 'POST', headers, body, cache: 'no-store' })
    return { answer, json: await answer.json().catch(() => ({})) }
  }

  const submit = async (what) => {
    show('')
    button.disabled = true
    try {
      await what()
    } catch {
      button.disabled = false
      show('The server cannot be reached. Check that it is running and that you are online, then try again.')
      // The button lost it when it was disabled
      if (field?.type === 'password') field.focus()
      else button.focus()
    }
  }

  const logIn = async () => {
    if (!field.value) return
    pass(0)
    const remember = document.querySelector('#remember')?.checked ?? false
    const { answer, json } = await send(PAGE, JSON.stringify({ api_key: field.value, remember, next }))
    if (answer.ok) {
      form.classList.add('done')
      keep(json.storage, json.token)
      tabs?.postMessage('login')
      goTo(json.next)
      return
    }
    show(json.message ?? `The server answered with an error (${answer.status}). Try again in a moment.`)
    countDown(Number(answer.headers.get('retry-after') ?? 0))
    if (field.type === 'hidden') return
    field.focus()
    field.select()
  }

  const logOut = async () => {
    const { answer, json } = await send(`${base}/auth_logout`, '')
    if (!answer.ok && !(answer.status === 401 && ofOurs(answer))) {
      button.disabled = false
      show(json.message ?? `You are still logged in: the server answered with an error (${answer.status}).`)
      return
    }
    keep()
    tabs?.postMessage('logout')
    location.replace(`${PAGE}?notice=logged-out`)
  }

  form?.addEventListener('submit', (event) => {
    event.preventDefault()
    if (field?.type === 'text') reveal() // password managers save what stands in a password field
    submit(form.id === 'logout' ? logOut : logIn)
  })

  const host = document.querySelector('#host')
  if (host) host.textContent = location.host

  const toggle = document.querySelector('#show')
  const reveal = () => {
    const hide = field.type === 'text'
    field.type = hide ? 'password' : 'text'
    toggle.textContent = hide ? 'Show' : 'Hide'
  }
  if (toggle) {
    toggle.hidden = false
    toggle.addEventListener('click', reveal)
    // Another key may well be right, and a right one is never made to wait.
    field.addEventListener('input', () => countDown(0))
    field.focus()
    pass(Number(wait))
  }

  // A page may hide that it sent you here, and then nobody is the referrer: where the server could not tell either, it asks.
  const isOwn = document.referrer === '' ? mode === 'logout-now' : new URL(document.referrer).origin === location.origin
  if (isOwn && ['logout-now', 'logout-own'].includes(mode)) submit(logOut)
  if (mode === 'ask') history.replaceState(null, '', PAGE) // the key leaves the address bar
  if (mode === 'enter') {
    if (storage !== 'kept') keep(storage, token)
    tabs?.postMessage('login')
    goTo(next)
  }
  if (mode === 'probe') goOnIfAlive().catch(() => {})
  if (form?.id === 'login') {
    // Logged in in another tab, or back from the browser's cache of pages: this one goes on too.
    tabs?.addEventListener('message', ({ data }) => data === 'login' && goOnIfAlive().catch(() => {}))
    addEventListener('pageshow', (event) => event.persisted && goOnIfAlive().catch(() => {}))
  }
}
