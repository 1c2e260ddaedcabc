import { ParleyError } from './errors.js'
import type { ChatRecord, Conversation } from './frames.js'
import { given } from './given.js'
import { call, type Fetch, type Request } from './http.js'
import type {
  Committed, ConversationAnswer, ConversationsAnswer, CursorsAnswer, CursorsBody, MembersAnswer, MessageAnswer,
  PageAnswer, PeopleAnswer, Person, PersonAnswer, ReceiptsAnswer, Session, SessionsAnswer, Settings, Tokens, VersionsAnswer,
} from './rest-types.js'

/** Login is what register, login and refresh answer, and when the access token ends by this machine's clock (ms). */
export type Login = Tokens & { expires_at: number }

/** Token is an access token, and when (ms, this machine's clock) to replace it; undefined: never. */
export interface Token {
  token: string
  replaceAt?: number
}

/**
 * LoginStore keeps the login of several programs at once, such as the tabs of a browser: a refresh token works
 * once, so the newest must be known to all before the older is used again.
 */
export interface LoginStore {
  load(): Login | undefined
  save(login: Login | undefined): void
  /** exclusively does work while nobody else who shares the store does. */
  exclusively<T>(work: () => Promise<T>): Promise<T>
}

/** ApiConfig configures an Api; url is the base of the server, http or https. */
export interface ApiConfig {
  url: string
  fetch?: Fetch
  now?: () => number
  store?: LoginStore
  /**
   * For pages of the server's own origin: the refresh token stays in a cookie that no script reads, and a page that
   * has no login yet gets it by renew(''). The store then holds no secret that outlives the access token.
   */
  cookie?: boolean
}

/** Position is a place in a conversation: a seq (number) or an id (string). */
export type Position = number | string

/**
 * PageQuery asks for a page. At most one of before and after (exclusive), around (inclusive) and at (a time) is
 * set; none is the newest page. limit is at most 100, the server's default is 50.
 */
export interface PageQuery {
  limit?: number
  before?: Position
  after?: Position
  around?: Position
  at?: string
}

/** Api is one user's REST interface. It refreshes its token by itself. */
export class Api {
  readonly url: string
  private readonly fetch: Fetch
  private readonly now: () => number
  private readonly store: LoginStore
  private readonly cookie: boolean
  private refreshing: Promise<unknown> = Promise.resolve()

  constructor(config: ApiConfig) {
    this.url = config.url.replace(/\/+$/, '').replace(/^ws/, 'http')
    this.fetch = config.fetch ?? ((url, init) => fetch(url, init))
    this.now = config.now ?? Date.now
    this.store = config.store ?? memoryLogin()
    this.cookie = config.cookie ?? false
  }

  // Sessions

  /** register creates a user and logs in. device names the session; the user agent when absent. */
  register(username: string, email: string, password: string, device?: string): Promise<Login> {
    return this.enter('auth/register', { username, email, password, ...given({ device }) })
  }

  /** login logs in by username or e-mail. */
  login(login: string, password: string, device?: string): Promise<Login> {
    return this.enter('auth/login', { login, password, ...given({ device }) })
  }

  /** logout revokes the present session. */
  async logout(): Promise<void> {
    await this.do({ method: 'POST', path: 'auth/logout', cookie: this.cookie })
    this.store.save(undefined)
  }

  /** account is the present login; undefined when there is none. */
  account(): Login | undefined {
    return this.store.load()
  }

  /** adopt takes up a login made elsewhere; undefined forgets the present one. */
  adopt(login: Login | undefined): void {
    this.store.save(login)
  }

  /** token is one that is not about to expire: it is refreshed when four fifths of its life are over. */
  async token(): Promise<Token> {
    const login = this.store.load()
    if (!login && this.cookie) return this.renew('')
    if (!login) throw new ParleyError('unauthorized', 'not logged in', false)
    const token = tokenOf(login)
    return token.replaceAt <= this.now() ? this.renew(token.token) : token
  }

  /**
   * renew gives another token than old, which was refused or grows old. Callers that hold the same old token share
   * one refresh; unauthorized when there is none to be had.
   */
  renew(old: string): Promise<Token> {
    const renewed = this.refreshing.then(() => this.store.exclusively(() => this.refresh(old)))
    this.refreshing = renewed.catch(() => undefined)
    return renewed
  }

  private async refresh(old: string): Promise<Token> {
    const present = this.store.load()
    if (!present && !this.cookie) throw new ParleyError('unauthorized', 'not logged in', false)
    if (present && present.access_token !== old) return tokenOf(present)
    const body = this.cookie ? {} : { body: given({ refresh_token: present?.refresh_token }) }
    const next = await call(this.fetch, this.url, { method: 'POST', path: 'auth/refresh', cookie: this.cookie, ...body })
    return tokenOf(this.keep(next as Tokens))
  }

  private async enter(path: string, body: object): Promise<Login> {
    return this.keep((await call(this.fetch, this.url, { method: 'POST', path, body, cookie: this.cookie })) as Tokens)
  }

  private keep(tokens: Tokens): Login {
    const login = { ...tokens, expires_at: this.now() + 1000 * tokens.expires_in }
    this.store.save(login)
    return login
  }

  /** do is call with the user's token; a token that is refused is replaced once. */
  private async do<T>(request: Request): Promise<T> {
    const { token } = await this.token()
    try {
      return (await call(this.fetch, this.url, { ...request, token })) as T
    } catch (error) {
      if (!(error instanceof ParleyError) || error.code !== 'unauthorized') throw error
    }
    const { token: renewed } = await this.renew(token)
    return (await call(this.fetch, this.url, { ...request, token: renewed })) as T
  }

  /** sessions lists one's own logins. */
  async sessions(): Promise<Session[]> {
    return (await this.do<SessionsAnswer>({ method: 'GET', path: 'sessions' })).sessions
  }

  /** revokeSession ends a login; its sockets close within 5 s. */
  revokeSession(id: string): Promise<void> {
    return this.do({ method: 'DELETE', path: path('sessions', id) })
  }

  // People

  /** me is one's own profile. */
  async me(): Promise<Person> {
    return (await this.do<PersonAnswer>({ method: 'GET', path: 'users/me' })).user
  }

  /** setDisplayName changes one's own display name: any text of 1 to 64 characters. */
  async setDisplayName(name: string): Promise<Person> {
    return (await this.do<PersonAnswer>({ method: 'PATCH', path: 'users/me', body: { display_name: name } })).user
  }

  /** user is a person's profile. */
  async user(id: string): Promise<Person> {
    return (await this.do<PersonAnswer>({ method: 'GET', path: path('users', id) })).user
  }

  /** users reads up to 100 profiles at once; unknown ids are left out. */
  async users(ids: string[]): Promise<Person[]> {
    return (await this.do<PeopleAnswer>({ method: 'GET', path: 'users' + query({ ids: ids.join(',') }) })).users
  }

  /** searchUsers finds people by the beginning of their username. */
  async searchUsers(text: string): Promise<Person[]> {
    return (await this.do<PeopleAnswer>({ method: 'GET', path: 'users/search' + query({ query: text }) })).users
  }

  // Conversations

  /** createDirect opens the direct conversation with another user; it exists once, however often it is created. */
  createDirect(userId: string): Promise<Conversation> {
    return this.create({ type: 'direct', user_id: userId })
  }

  /** createGroup makes a group with oneself as its owner. The client id makes a repeated call the same group. */
  createGroup(name: string, memberIds: string[], options: { clientId?: string; history?: 'all' | 'joined' } = {}): Promise<Conversation> {
    const { clientId: client_id, history } = options
    return this.create({ type: 'group', name, member_ids: memberIds, ...given({ client_id, history }) })
  }

  private async create(body: object): Promise<Conversation> {
    return (await this.do<ConversationAnswer>({ method: 'POST', path: 'conversations', body })).conversation
  }

  /** conversation is one conversation as the caller sees it. */
  async conversation(id: string): Promise<Conversation> {
    return (await this.do<ConversationAnswer>({ method: 'GET', path: path('conversations', id) })).conversation
  }

  /** conversations is a page of one's conversations, by last activity; next, if any, is the cursor of the following. */
  conversations(options: { limit?: number; cursor?: string } = {}): Promise<ConversationsAnswer> {
    return this.do({ method: 'GET', path: 'conversations' + query({ ...options }) })
  }

  /** changeConversation changes a group's name, or what newcomers may read. */
  async changeConversation(id: string, settings: Settings): Promise<Conversation> {
    return (await this.do<ConversationAnswer>({ method: 'PATCH', path: path('conversations', id), body: settings })).conversation
  }

  /** members is a page of a conversation's members; next, if any, is the cursor of the following. */
  members(id: string, cursor?: string): Promise<MembersAnswer> {
    return this.do({ method: 'GET', path: path('conversations', id, 'members') + query({ cursor }) })
  }

  /** addMembers adds people to a group; who is a member already stays as they are. */
  addMembers(id: string, userIds: string[]): Promise<Committed> {
    return this.do({ method: 'POST', path: path('conversations', id, 'members'), body: { user_ids: userIds } })
  }

  /** setRole changes a member's role. */
  setRole(id: string, userId: string, role: 'owner' | 'admin' | 'member'): Promise<Committed> {
    return this.do({ method: 'PATCH', path: path('conversations', id, 'members', userId), body: { role } })
  }

  /** removeMember removes a member from a group; oneself: leaves it. */
  removeMember(id: string, userId: string): Promise<Committed> {
    return this.do({ method: 'DELETE', path: path('conversations', id, 'members', userId) })
  }

  // Messages

  /**
   * send sends a message by REST and answers its record. The same client id may be sent again at any time and gives
   * the first result; another body under it is a conflict.
   */
  async send(id: string, clientId: string, text: string, replyTo?: number): Promise<ChatRecord> {
    const body = { client_id: clientId, type: 'text', text, ...given({ reply_to: replyTo }) }
    return (await this.do<MessageAnswer>({ method: 'POST', path: path('conversations', id, 'messages'), body })).message
  }

  /** edit replaces the text of a message of one's own. */
  edit(id: string, target: Position, clientId: string, text: string): Promise<Committed> {
    return this.do({ method: 'PATCH', path: message(id, target), body: { client_id: clientId, text } })
  }

  /** delete deletes a message for everyone. */
  delete(id: string, target: Position, clientId: string): Promise<Committed> {
    return this.do({ method: 'DELETE', path: message(id, target) + query({ client_id: clientId }) })
  }

  /** page reads a page of history: ascending, edits and deletes folded into their targets. */
  page(id: string, q: PageQuery = {}): Promise<PageAnswer> {
    return this.do({ method: 'GET', path: path('conversations', id, 'messages') + query({ ...q }) })
  }

  /** versions are a message's texts from the first to the last, as records. */
  async versions(id: string, target: Position): Promise<ChatRecord[]> {
    return (await this.do<VersionsAnswer>({ method: 'GET', path: message(id, target, 'versions') })).versions
  }

  /** receipts tells who has a message, and who has read it. */
  receipts(id: string, target: Position): Promise<ReceiptsAnswer> {
    return this.do({ method: 'GET', path: message(id, target, 'receipts') })
  }

  /** setCursor moves one's own cursors; they only move forward. */
  setCursor(id: string, cursors: CursorsBody): Promise<CursorsAnswer> {
    return this.do({ method: 'PUT', path: path('conversations', id, 'cursor'), body: cursors })
  }
}

/** memoryLogin keeps a login as long as the program runs. */
export function memoryLogin(login?: Login): LoginStore {
  let kept = login
  return { load: () => kept, save: (next) => void (kept = next), exclusively: (work) => work() }
}

/**
 * browserLogin keeps a login in localStorage, for all tabs of a browser. Only a secure context has the lock that
 * keeps two tabs from using one refresh token; elsewhere they may lose the session.
 */
export function browserLogin(key = 'parley-login'): LoginStore {
  return {
    load: () => {
      const text = localStorage.getItem(key)
      return text === null ? undefined : (JSON.parse(text) as Login)
    },
    save: (login) => (login ? localStorage.setItem(key, JSON.stringify(login)) : localStorage.removeItem(key)),
    exclusively: async (work) => (globalThis.navigator?.locks ? await navigator.locks.request(key, work) : work()),
  }
}

function tokenOf(login: Login): Required<Token> {
  return { token: login.access_token, replaceAt: login.expires_at - 200 * login.expires_in }
}

function path(...parts: string[]): string {
  return parts.map(encodeURIComponent).join('/')
}

function message(id: string, target: Position, ...rest: string[]): string {
  return path('conversations', id, 'messages', String(target), ...rest)
}

function query(values: { [name: string]: Position | undefined }): string {
  const text = new URLSearchParams(Object.entries(given(values)).map(([k, v]) => [k, String(v)])).toString()
  return text === '' ? '' : `?${text}`
}
