import { useState } from 'preact/hooks'
import { ParleyError } from '@parley-chat/client'
import { reason } from './format.ts'
import { login, register } from './session.ts'
import { t } from './strings.ts'
import { IconButton, Logo } from './ui.tsx'

/** Auth is the page of whoever is not logged in. */
export function Auth() {
  const [mode, setMode] = useState<'login' | 'register'>('login')
  const [problem, setProblem] = useState('')
  const [busy, setBusy] = useState(false)
  const [shown, setShown] = useState(false)
  const registering = mode === 'register'

  async function submit(event: SubmitEvent) {
    event.preventDefault()
    if (busy) return
    const data = new FormData(event.currentTarget as HTMLFormElement)
    const field = (name: string) => String(data.get(name) ?? '')
    setBusy(true)
    setProblem('')
    try {
      if (registering) await register(field('username').trim(), field('email').trim(), field('password'))
      else await login(field('login').trim(), field('password'))
    } catch (error) {
      const wrong = error instanceof ParleyError && error.code === 'unauthorized'
      setProblem(wrong ? t.errors.wrongLogin : reason(error))
      setBusy(false)
    }
  }

  return (
    <main class="auth">
      <div class="auth-card">
        <div class="brand">
          <Logo />
          <p class="brand-name">{t.app}</p>
          <p class="quiet">{t.tagline}</p>
        </div>
        <form onSubmit={submit} aria-labelledby="auth-title" key={mode}>
          <h1 id="auth-title">{registering ? t.registerTitle : t.loginTitle}</h1>
          {registering ? (
            <>
              <label class="field">
                <span>{t.username}</span>
                <input name="username" autocomplete="username" autocapitalize="none" spellcheck={false} required minLength={2} maxLength={32} aria-describedby="username-hint" autofocus />
                <small id="username-hint">{t.usernameHint}</small>
              </label>
              <label class="field">
                <span>{t.email}</span>
                <input name="email" type="email" autocomplete="email" required />
              </label>
            </>
          ) : (
            <label class="field">
              <span>{t.loginField}</span>
              <input name="login" autocomplete="username" autocapitalize="none" spellcheck={false} required autofocus />
            </label>
          )}
          <div class="field">
            <label for="password">{t.password}</label>
            <div class="with-button">
              <input
                id="password"
                name="password"
                {...(shown ? { type: 'text' as const } : { type: 'password' as const })}
                autocomplete={registering ? 'new-password' : 'current-password'}
                required
                minLength={registering ? 8 : undefined}
                maxLength={1024}
                aria-describedby={registering ? 'password-hint' : undefined}
              />
              <IconButton icon="eye" label={shown ? t.hidePassword : t.showPassword} aria-pressed={shown} onClick={() => setShown(!shown)} />
            </div>
            {registering ? <small id="password-hint">{t.passwordHint}</small> : null}
          </div>
          <div class="problem" role="alert">
            {problem}
          </div>
          <button class="button primary wide" disabled={busy}>
            {busy ? t.working : registering ? t.register : t.login}
          </button>
        </form>
        <button
          type="button"
          class="link"
          onClick={() => {
            setMode(registering ? 'login' : 'register')
            setProblem('')
          }}
        >
          {registering ? t.toLogin : t.toRegister}
        </button>
      </div>
    </main>
  )
}
