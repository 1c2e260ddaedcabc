package sqlite

import (
	"context"
	"fmt"
)

// Claim binds the file to the installation key of the given fingerprint, for ever. A file that was bound
// to another key is an error: the process must not start.
func (s *Store) Claim(ctx context.Context, fingerprint string) error {
	if _, err := s.writer.db.ExecContext(ctx, `INSERT INTO installation (one, fingerprint) VALUES (1, ?) ON CONFLICT DO NOTHING`, fingerprint); err != nil {
		return fmt.Errorf("claim message store %s: %w", s.path, err)
	}
	var bound string
	if err := s.writer.db.QueryRowContext(ctx, `SELECT fingerprint FROM installation`).Scan(&bound); err != nil {
		return fmt.Errorf("claim message store %s: %w", s.path, err)
	}
	if bound != fingerprint {
		return fmt.Errorf("message store %s was made under another installation key", s.path)
	}
	return nil
}
