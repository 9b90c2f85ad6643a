// ComfyUI is starting: ask /health, which needs no key, and come back when it answers.
setInterval(async () => {
  const answer = await fetch('/health', { cache: 'no-store' }).catch(() => undefined)
  if (answer?.ok) location.reload()
}, 2000)
