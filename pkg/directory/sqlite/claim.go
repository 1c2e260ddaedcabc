package sqlite

import (
	"context"
	"errors"
	"fmt"
)

// Claim binds the file to the installation key of the given fingerprint, for ever. A file that was bound
// to another key is an error: the process must not start.
func (s *Store) Claim(ctx context.Context, fingerprint string) error {
	if _, err := s.write.ExecContext(ctx, `INSERT INTO installation (one, fingerprint) VALUES (1, ?) ON CONFLICT DO NOTHING`, fingerprint); err != nil {
		return fmt.Errorf("claim directory: %w", err)
	}
	var bound string
	if err := s.write.QueryRowContext(ctx, `SELECT fingerprint FROM installation`).Scan(&bound); err != nil {
		return fmt.Errorf("claim directory: %w", err)
	}
	if bound != fingerprint {
		return errors.New("the directory was made under another installation key")
	}
	return nil
}
