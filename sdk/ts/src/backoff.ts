/** Backoff is full jitter: the wait before try n is uniform between 0 and baseMs * 2^n, at most capMs. */
export interface Backoff {
  baseMs: number
  capMs: number
}

/** waitAfter is the time before another try after so many failures, never below the server's hint. */
export function waitAfter(backoff: Backoff, failures: number, hintMs = 0): number {
  const jittered = Math.random() * Math.min(backoff.capMs, backoff.baseMs * 2 ** failures)
  // The hint is a promise, the rest keeps clients apart.
  return hintMs > 0 ? hintMs + jittered / 4 : jittered
}
