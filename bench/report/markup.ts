/** HTML in template literals: what is put in is escaped, unless it is such a template itself. */
import { visible } from '#internals'

export class Markup {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

type Part = string | number | Markup | Part[] | false | null | undefined

/** False, null and undefined leave nothing, arrays are joined. */
export function html(strings: TemplateStringsArray, ...parts: Part[]): Markup {
  return new Markup(String.raw({ raw: strings }, ...parts.map(render)))
}

function render(part: Part): string {
  if (part instanceof Markup) return part.text
  if (Array.isArray(part)) return part.map(render).join('')
  if (part === false || part === null || part === undefined) return ''
  return escapeHtml(String(part))
}

const ENTITIES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

function escapeHtml(text: string): string {
  return visible(text).replace(/[&<>"']/g, (character) => ENTITIES[character] as string)
}

/** JSON for a <script type="application/json">: nothing in it can end the element or open another. */
export function jsonIn(value: unknown): Markup {
  const shown = (_: string, part: unknown): unknown => (typeof part === 'string' ? visible(part) : part)
  return new Markup(JSON.stringify(value, shown).replaceAll('<', '\\u003c'))
}
