/** Opens a page in a headless Chromium and says what happened there, by the DevTools protocol over a pipe. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'

/** The first browser on PATH that can be used; null if there is none. */
export function findChromium(): string | null {
  for (const name of ['chromium', 'chromium-browser', 'google-chrome']) {
    try {
      execFileSync(name, ['--version'], { stdio: 'ignore' })
      return name
    } catch {}
  }
  return null
}

// biome-ignore lint/suspicious/noExplicitAny: as loose as the protocol's JSON
type Message = Record<string, any>

export interface Visit {
  /** What the last expression in the page evaluates to. */
  value: unknown
  /** Console errors and warnings, uncaught exceptions and what the browser itself reports. */
  problems: string[]
  /** Every URL that was asked for. */
  requests: string[]
}

/** Loads the URL, lets it settle and evaluates an expression, with scripts off if so asked. */
export async function visit(
  chromium: string,
  url: string,
  expression: string,
  { dark = false, scripts = true, screenshot = (_png: Buffer): void => {} } = {},
): Promise<Visit> {
  const profile = mkdtempSync(join(tmpdir(), 'bptt-chromium-'))
  const child = spawn(
    chromium,
    [
      '--headless=new',
      '--remote-debugging-pipe',
      '--disable-gpu',
      '--no-first-run',
      '--no-proxy-server',
      '--window-size=1280,900',
      `--user-data-dir=${profile}`,
      ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
      'about:blank',
    ],
    { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'], detached: true },
  )
  const closed = new Promise<void>((resolve) => child.on('close', () => resolve()))
  const connection = connect(child)
  try {
    return await look(connection, url, expression, { dark, scripts, screenshot })
  } finally {
    // Asked to close it waits for its children, most of the time; those that are left still write the profile.
    const late = setTimeout(() => killGroup(child), 5000)
    connection.send('Browser.close').catch(() => {})
    await closed
    clearTimeout(late)
    killGroup(child)
    await rm(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
  }
}

function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid) process.kill(-pid, 'SIGKILL')
  } catch {} // all have ended
}

async function look(
  { send, on }: Connection,
  url: string,
  expression: string,
  { dark, scripts, screenshot }: { dark: boolean; scripts: boolean; screenshot: (png: Buffer) => void },
): Promise<Visit> {
  const problems: string[] = []
  const requests: string[] = []
  const { targetInfos } = await send('Target.getTargets')
  const { targetId } = targetInfos.find(({ type }: Message) => type === 'page')
  const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true })
  const page = (method: string, params: Message = {}) => send(method, params, sessionId)
  const loaded = new Promise((resolve) => on('Page.loadEventFired', resolve))
  on('Network.requestWillBeSent', ({ request }) => requests.push(request.url))
  on('Runtime.exceptionThrown', ({ exceptionDetails }) => problems.push(JSON.stringify(exceptionDetails)))
  on('Runtime.consoleAPICalled', (call) => {
    if (['error', 'warning', 'assert'].includes(call.type)) problems.push(JSON.stringify(call.args))
  })
  on('Log.entryAdded', ({ entry }) => problems.push(`${entry.level}: ${entry.text}`))
  for (const domain of ['Page', 'Network', 'Runtime', 'Log']) await page(`${domain}.enable`)
  await page('Emulation.setScriptExecutionDisabled', { value: !scripts })
  const features = [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }]
  await page('Emulation.setEmulatedMedia', { features })
  await page('Page.navigate', { url })
  await loaded
  const { result, exceptionDetails } = await page('Runtime.evaluate', {
    expression: scripts
      ? `new Promise((r) => requestAnimationFrame(() => r())).then(() => (${expression}))`
      : expression,
    awaitPromise: true,
    returnByValue: true,
  })
  if (exceptionDetails) throw new Error(JSON.stringify(exceptionDetails))
  const { data } = await page('Page.captureScreenshot', { captureBeyondViewport: true })
  screenshot(Buffer.from(data, 'base64'))
  return { value: result.value, problems, requests }
}

interface Connection {
  send(method: string, params?: Message, sessionId?: string): Promise<Message>
  on(method: string, listener: (params: Message) => void): void
}

/** Messages are JSON, each ended by a zero byte: to the browser on its descriptor 3, from it on 4. */
function connect(child: ChildProcess): Connection {
  const [, , , input, output] = child.stdio as unknown as [null, null, null, Writable, Readable]
  const waiting = new Map<number, { resolve: (value: Message) => void; reject: (error: Error) => void }>()
  const listeners = new Map<string, (params: Message) => void>()
  let unread = ''
  let id = 0
  input.on('error', () => {})
  output.setEncoding('utf8').on('data', (text: string) => {
    const messages = (unread + text).split('\0')
    unread = messages.pop() as string
    for (const message of messages.map((json) => JSON.parse(json) as Message)) {
      if (message.id === undefined) listeners.get(message.method)?.(message.params)
      else if (message.error) waiting.get(message.id)?.reject(new Error(JSON.stringify(message.error)))
      else waiting.get(message.id)?.resolve(message.result)
    }
  })
  child.on('exit', (code) => {
    for (const { reject } of waiting.values()) reject(new Error(`the browser ended with ${code}`))
  })
  return {
    send: (method, params = {}, sessionId) =>
      new Promise((resolve, reject) => {
        id += 1
        waiting.set(id, { resolve, reject })
        input.write(`${JSON.stringify({ id, method, params, sessionId })}\0`)
      }),
    on: (method, listener) => listeners.set(method, listener),
  }
}
