// Package auth registers people, checks passwords and issues tokens.
//
// Access tokens are short-lived EdDSA JWTs; refresh tokens are opaque, stored hashed, and rotate with
// reuse detection. Password hashing is bounded. Rate limits per address and per user live here too.
package auth
