import { render } from 'preact'
import { App } from './App.tsx'
import { followHistory } from './route.ts'
import { start } from './session.ts'
import './style.css'
import { followTheme } from './theme.ts'
import { serveOffline } from './update.ts'

const root = document.getElementById('app')
if (root) {
  followTheme()
  followHistory()
  start()
  render(<App />, root)
  void serveOffline()
}
