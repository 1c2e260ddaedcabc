// Package checker judges what clients saw: it reads a history and checks the promises I1 to I14 (I12 as far as
// clients of one server see it, I14 for usernames) in time and memory linear in the history.
//
// # The history
//
// JSON lines, one event each, in the order in which they happened at their client; the lines of different
// clients may mix in any way. Fields that do not apply are left out. Times are Unix nanoseconds: t when the
// event was known, t0 when the request began. client is "<user id>/<device>".
//
//	register       client, username, code            code "ok" or the refusal
//	send           client, conversation, client_id, kind (message, edit, delete), text_hash, target, reply_to
//	sent           client, conversation, client_id, id, seq, n: the acknowledgement. Again for a repeated send
//	fail           client, conversation, client_id, code: refused for good
//	unknown        client, conversation, client_id: no answer. A timeout is unknown, never fail
//	conflict_probe client, conversation, client_id, code: another body under a used client id was answered so
//	received       client, conn, conversation, records: shown by the device, from the live stream or its own answer
//	synced         client, conn, conversation, records, t0: shown by the device, from a sync
//	filled         client, conversation, records: shown by the device, from history below a sync's gap
//	filled_range   client, conversation, from, to: what lies in it was shown by filled, edits and deletes folded
//	repeat         client, conn, conversation, seq: delivered again on one connection (and not shown)
//	missed         client, conn, conversation, seq: did not come live although a later one did (a note)
//	gone           client, conversation: the device was told that it may not see it any more
//	page           client, t0, conversation, from, to, records: read while things happened
//	versions       client, t0, conversation, target, records: texts of a message
//	member_add     client, t0, conversation, users, code    code "ok", "unknown" or the refusal
//	member_remove  client, t0, conversation, users, code
//	cursor         client, conn, conversation, user, which (read, delivered), seq, n: a receipt that came live
//	cursor_set     client, conversation, which, seq, code: an own cursor moved, acknowledged if code is "ok"
//	connected      client: its connection to the server stands (at t)
//	disconnected   client: it has ended
//	presence       client, user, which (online, away, offline): the device was told so
//	final_device   client: the device is connected and at rest, and shows everything that it ever will
//	final_head     client, conversation, seq, n, id (the head), read {seq,n}, unread, at rest
//	final_page     client, conversation, from, to, seq (the head's), records: at rest, from the beginning on
//
// A record is {seq,n,id,kind,sender,client_id,text_hash,target,reply_to,action,users,history,edited_seq,deleted}.
// text_hash is HashText of the text, absent when the text is empty.
//
// # The judgement
//
// Order, membership and content are taken from what was seen of each seq first; whoever saw something else is
// the violation. Membership is decided by the records, so what a removed member may not have seen is known
// exactly, whatever the clocks say; times are used only where a promise speaks of them (I8: a read begun after
// the removal was acknowledged; I13: a read begun after the delete was). I12 has nothing but times: who is told offline must have been away for
// some seconds of the last twenty, whoever is connected for 15 s at rest must not be shown offline. That a killed
// edge's people are offline within 45 s takes a second edge: a test of cmd/parley has one.
package checker
