/** The codes of docs/PROTOCOL.md and whether they may be retried. network is the SDK's own: no answer came. */
export const codes = {
  invalid: false, invalid_text: false, invalid_client_id: false, unknown_type: false, too_large: false, unauthorized: false,
  forbidden: false, not_found: false, conflict: false, rate_limited: true, unavailable: true, unknown_outcome: true,
  prior_failed: true, internal: false, network: true,
}

/** Code says what went wrong, for programs. With network and unknown_outcome it is unknown whether anything happened. */
export type Code = keyof typeof codes

/** ParleyError is a refusal by the server, by REST or by the socket, or a request without an answer. */
export class ParleyError extends Error {
  override readonly name = 'ParleyError'

  constructor(
    readonly code: Code,
    message: string,
    /** Whether the same request may succeed later. */
    readonly retryable: boolean,
    /** The server's hint in milliseconds; 0: none. */
    readonly retryAfterMs = 0,
    /** The HTTP status; 0: it came over the socket, or nothing came. */
    readonly status = 0,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}

/** CloseError says with which code a connection ended. */
export class CloseError extends Error {
  override readonly name = 'CloseError'

  constructor(readonly code: number, readonly reason: string) {
    super(`connection closed: ${code} ${reason}`.trimEnd())
  }

  /** Whether the same session may connect again: 4000 to 4499 say no. */
  get reconnect(): boolean {
    return this.code < 4000 || this.code >= 4500
  }
}

/** StoppedError ends Client.run: the server wants no further connection; cause says why. */
export class StoppedError extends Error {
  override readonly name = 'StoppedError'

  constructor(override readonly cause: Error) {
    super(`client stopped: ${cause.message}`, { cause })
  }
}

/** OutboxFullError refuses a message: as many as the configuration allows wait for their answer. */
export class OutboxFullError extends Error {
  override readonly name = 'OutboxFullError'

  constructor() {
    super('the outbox is full')
  }
}

/** asError makes an Error of whatever was thrown. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown))
}

/** isUnauthorized reports whether a token was refused. */
export function isUnauthorized(error: Error): boolean {
  if (error instanceof CloseError) return error.code === 4001
  return error instanceof ParleyError && error.code === 'unauthorized'
}

/** mayRetry reports whether saying the same again may help. What is no refusal of the server always may. */
export function mayRetry(error: Error): boolean {
  return !(error instanceof ParleyError) || error.retryable
}

/** hintOf is the server's hint in milliseconds; 0: none. */
export function hintOf(error: Error): number {
  return error instanceof ParleyError ? error.retryAfterMs : 0
}
