// Package auth registers people, checks passwords, issues tokens, and limits what an address may try.
//
// In: names and passwords, tokens, addresses. Out: a Grant (who, which session, an access token, a refresh
// token) or Claims (what a token proves). Access tokens are short-lived EdDSA JWTs that any process with the
// installation's key verifies; a session's end is spread by Revocations. Refresh tokens are opaque and good
// once: presenting one a second time ends its session everywhere, because one of the two holders stole it.
// A ticket stands in for an access token once, within 30 s, in the process that gave it.
//
// Guarantees: a login tells nothing about which half of it was wrong, in text or in time. Passwords and
// tokens are kept as hashes only. At most Hashers passwords are hashed at a time and a bounded number wait;
// beyond that, or after HashWait, the answer is chat.Unavailable with a hint when to come again. Tickets and
// the limiter's addresses are bounded and counted too.
//
// Failures: refusals are *chat.Error (invalid, conflict, unauthorized, not_found). If a session was revoked
// in the directory and the news could not be spread, the caller gets the error and a repeat spreads it again;
// a starting process spreads what the last ones may have left (LoadRevocations).
package auth
