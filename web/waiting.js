// ComfyUI is starting: ask /health, which needs no key, and come back when it answers.
setInterval(async () => {
  const answer = await fetch(`${document.body.dataset.base}/health`, { cache: 'no-store' }).catch(() => undefined)
  if (answer?.ok) location.reload()
}, 2000)
