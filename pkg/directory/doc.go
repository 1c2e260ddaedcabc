// Package directory knows people, their sessions, and a projection of conversations for lists.
//
// Users, credentials and sessions are written here first; conversations and participants are a
// projection of the log (persist/roster) and may lag it. No decision about membership is made from it.
package directory
