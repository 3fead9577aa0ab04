/**
 * What comes from outside (names and text of files, arguments, variables, what peers say) as text that a terminal
 * shows instead of obeying: control characters, those that reorder or hide others, and halves of characters are
 * written as `\u{1b}`. Joiners stay: they change no more than how their neighbours look.
 */
const UNSAFE = /(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu

const escaped = (character: string): string => `\\u{${(character.codePointAt(0) as number).toString(16)}}`

/** For a line of its own: line breaks are escaped, too. */
export function oneLine(text: string): string {
  return text.replace(UNSAFE, escaped)
}

/** For text that has lines: breaks and tabs stay. */
export function visible(text: string): string {
  return text.replace(UNSAFE, (character) => (/[\n\t]/.test(character) ? character : escaped(character)))
}

/** The value as JSON in one line, which parses to the same value. */
export function jsonLine(value: unknown): string {
  const units = (character: string): string =>
    Array.from(character.split(''), (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`).join(
      '',
    )
  return JSON.stringify(value).replace(UNSAFE, units)
}
